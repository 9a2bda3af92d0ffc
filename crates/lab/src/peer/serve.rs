//! Small upstreams over TCP, a thread for each connection.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// After a failure that may last, as a lack of file descriptors does.
const PAUSE: Duration = Duration::from_millis(10);
const PAGE: &str = "<!doctype html>\n<title>Vestibule lab</title>\n<h1>Vestibule lab</h1>\n";

/// Listens at `address` and serves every connection as `kind` says, until killed. Each one is told of in a line.
pub(crate) fn serve(kind: &str, address: &str) -> io::Result<()> {
    let handle = match kind {
        "echo" => echo,
        "hang" => hang,
        "source" => source,
        "tick" => tick,
        "web" => web,
        _ => return Err(io::Error::other(format!("no upstream {kind:?}"))),
    };
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    accept_all(&listener, handle)
}

/// The connections of the queue, for good: one that was reset before it was taken out ends itself and nothing else.
fn accept_all(listener: &TcpListener, handle: fn(TcpStream) -> io::Result<()>) -> ! {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                println!("accepted {peer}");
                thread::spawn(move || {
                    let ended = handle(stream);
                    println!("closed {peer}: {ended:?}");
                });
            }
            Err(error) => {
                println!("not accepted: {error}");
                thread::sleep(PAUSE);
            }
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(&bytes[..length])?;
    }
}

fn hang(stream: TcpStream) -> io::Result<()> {
    loop {
        thread::park();
        // `park` may return by itself; the connection must stay.
        stream.take_error()?;
    }
}

fn source(mut stream: TcpStream) -> io::Result<()> {
    let zeros = vec![0; 1 << 18];
    loop {
        stream.write_all(&zeros)?;
    }
}

fn tick(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for number in 0_u64.. {
        // A line in one piece: who reads a part of the stream reads whole lines.
        stream.write_all(format!("{number}\n").as_bytes())?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn web(stream: TcpStream) -> io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = skip_headers(&mut requests)?;
        io::copy(&mut requests.by_ref().take(length), &mut io::sink())?;
        answer(&path, &mut answers)?;
    }
}

/// Reads to the empty line, and gives the length of the body that follows.
fn skip_headers(requests: &mut impl BufRead) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok(length);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
}

fn answer(path: &str, to: &mut TcpStream) -> io::Result<()> {
    if let Some(Ok(count)) = path.strip_prefix("/bytes/").map(str::parse::<u64>) {
        write!(to, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {count}\r\n\r\n")?;
        return io::copy(&mut io::repeat(b'v').take(count), to).map(drop);
    }
    let (status, page) = if path == "/" { ("200 OK", PAGE) } else { ("404 Not Found", "not here\n") };
    let length = page.len();
    write!(to, "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{page}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;
    use socket2::SockRef;

    #[test]
    fn who_resets_a_connection_before_it_is_accepted_ends_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        for _ in 0..3 {
            let reset = TcpStream::connect(at).unwrap();
            SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let mut good = TcpStream::connect(at).unwrap();
        thread::spawn(move || accept_all(&listener, echo));
        good.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        good.write_all(b"word").unwrap();
        let mut back = [0; 4];
        good.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"word");
    }
}
