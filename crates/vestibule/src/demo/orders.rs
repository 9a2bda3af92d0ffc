//! The demo's order-entry application: as naive as such applications are. It trusts whoever reaches it, has no protection
//! against cross-site requests, and carries out every order as often as it arrives.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FRAME: &str = include_str!("../../../../demo/orders/page.html");
/// How long an order takes: long enough that a double click falls into it.
const WORK: Duration = Duration::from_millis(400);
/// The largest form that it reads, in bytes.
const FORM_LIMIT: u64 = 64 * 1024;
/// How many orders it keeps.
const ORDERS: usize = 1_000;

static PLACED: Mutex<Vec<Order>> = Mutex::new(Vec::new());

struct Order {
    user: String,
    item: String,
    count: u32,
}

/// What it reads of a request.
#[derive(Default)]
struct Asked {
    method: String,
    path: String,
    user: String,
    form: String,
}

/// Serves one connection.
pub(super) fn serve(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    let mut requests = BufReader::new(stream);
    while let Some(asked) = read(&mut requests)? {
        let (status, html) = answer(&asked);
        let mut answer = stream;
        write!(
            answer,
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n{html}",
            html.len()
        )?;
    }
    Ok(())
}

fn answer(asked: &Asked) -> (&'static str, String) {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/") => ("200 OK", page(asked, "Orders", &list())),
        ("POST", "/orders") => {
            let number = place(asked);
            let main =
                format!("<p>Order number {number} has been placed.</p><p><a href=\"/\">Back to the orders</a></p>");
            ("200 OK", page(asked, "Thank you", &main))
        }
        ("GET", "/reports") => ("200 OK", page(asked, "Reports for the manager", &report())),
        _ => ("404 Not Found", page(asked, "Not found", "<p>There is no such page.</p>")),
    }
}

fn place(asked: &Asked) -> usize {
    std::thread::sleep(WORK);
    let order = Order {
        user: asked.user.clone(),
        item: field(&asked.form, "item").unwrap_or_default(),
        count: field(&asked.form, "count").and_then(|count| count.parse().ok()).unwrap_or(1),
    };
    let mut placed = PLACED.lock().unwrap_or_else(PoisonError::into_inner);
    if placed.len() < ORDERS {
        placed.push(order);
    }
    placed.len()
}

fn list() -> String {
    let placed = PLACED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut main =
        format!("<p id=\"count\">{} orders so far.</p><table><tr><th>No.<th>Item<th>Count<th>By</tr>", placed.len());
    for (number, order) in placed.iter().enumerate() {
        // Writing into a string does not fail.
        let _ = write!(
            main,
            "<tr><td>{}<td>{}<td>{}<td>{}</tr>",
            number + 1,
            escaped(&order.item),
            order.count,
            escaped(&order.user)
        );
    }
    main.push_str(
        "</table><form method=\"post\" action=\"/orders\"><p><label>Item <input name=\"item\" value=\"paper\"></label> \
         <label>Count <input name=\"count\" value=\"1\" size=\"3\"></label> <button>Place the order</button></p></form>",
    );
    main
}

fn report() -> String {
    let placed = PLACED.lock().unwrap_or_else(PoisonError::into_inner);
    let pieces: u64 = placed.iter().map(|order| u64::from(order.count)).sum();
    format!("<p>{} orders, {pieces} pieces.</p>", placed.len())
}

fn page(asked: &Asked, title: &str, main: &str) -> String {
    let user = if asked.user.is_empty() { "nobody in particular" } else { &asked.user };
    FRAME.replace("{{user}}", &escaped(user)).replace("{{title}}", title).replace("{{main}}", main)
}

fn read(requests: &mut BufReader<&TcpStream>) -> io::Result<Option<Asked>> {
    let mut asked = Asked::default();
    let mut length = 0;
    let mut head = requests.take(FORM_LIMIT);
    let mut line = String::new();
    while head.read_line(&mut line)? > 0 {
        let text = line.trim_end();
        if text.is_empty() && !asked.method.is_empty() {
            let mut form = vec![0; length];
            head.set_limit(FORM_LIMIT);
            head.read_exact(&mut form)?;
            asked.form = String::from_utf8_lossy(&form).into_owned();
            return Ok(Some(asked));
        }
        if asked.method.is_empty() {
            let mut words = text.split(' ');
            asked.method = words.next().unwrap_or_default().to_owned();
            let target = words.next().unwrap_or_default();
            asked.path = target.split('?').next().unwrap_or_default().to_owned();
        } else if let Some((name, value)) = text.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0).min(FORM_LIMIT as usize),
                "vestibule-user" => asked.user = value.trim().to_owned(),
                _ => {}
            }
        }
        line.clear();
    }
    Ok(None)
}

/// A field of an `application/x-www-form-urlencoded` form.
fn field(form: &str, name: &str) -> Option<String> {
    let pair = form.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    let mut bytes = Vec::new();
    let mut rest = pair.1.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded() {
        assert_eq!(field("item=red+paper%21&count=2", "item").unwrap(), "red paper!");
        assert_eq!(field("item=red&count=2", "count").unwrap(), "2");
        assert_eq!(field("item=%zz", "item"), None);
        assert_eq!(field("", "item"), None);
    }

    #[test]
    fn what_users_write_is_text() {
        assert_eq!(escaped("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
