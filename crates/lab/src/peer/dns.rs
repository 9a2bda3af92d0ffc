//! A name server that knows one address, and a resolver that asks once: as much of RFC 1035 as a question and its answer take.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

/// What every name leads to.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// Bytes of a header.
const HEADER: usize = 12;
/// Type A, class IN.
const ADDRESS_OF: [u8; 4] = [0, 1, 0, 1];

/// Answers questions at `address` until killed. Each one is told of in a line.
pub(crate) fn serve(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("listening on {}", socket.local_addr()?);
    let mut buffer = [0; 512];
    loop {
        // What ICMP says of an asker that has gone is no failure.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        println!("accepted {from}");
        if let Some(answer) = answer(&buffer[..length]) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// Asks `server` for the address of `name`, once, and prints it. A failure when no answer comes within so many milliseconds.
pub(crate) fn ask(server: &str, name: &str, within_ms: &str) -> io::Result<()> {
    let within = within_ms.parse().map_err(io::Error::other)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(within)))?;
    let question = question(std::process::id() as u16, name);
    socket.send(&question)?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).map_err(|_| io::Error::other("no answer"))?;
    let address = address(&question, &buffer[..length]).ok_or_else(|| io::Error::other("not an answer"))?;
    println!("{address}");
    Ok(())
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(ADDRESS_OF);
    bytes
}

/// `None` for what is no question for an address.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let is_question = question.get(2)? & 0x80 == 0 && question.get(4..6)? == [0, 1];
    if !is_question || !question.ends_with(&ADDRESS_OF) {
        return None;
    }
    let mut bytes = question.to_vec();
    // An answer, recursion available; one record.
    (bytes[2], bytes[3]) = (0x81, 0x80);
    bytes[7] = 1;
    // The name stands behind the header; the record is good for a minute.
    bytes.extend([0xc0, HEADER as u8]);
    bytes.extend(ADDRESS_OF);
    bytes.extend([0, 0, 0, 60, 0, 4]);
    bytes.extend(ADDRESS.octets());
    Some(bytes)
}

fn address(question: &[u8], answer: &[u8]) -> Option<Ipv4Addr> {
    let same = answer.get(..2)? == &question[..2] && answer.get(HEADER..question.len())? == &question[HEADER..];
    let record = answer.get(question.len()..)?;
    let address: [u8; 4] = record.get(12..16)?.try_into().ok()?;
    (same && answer[7] == 1).then_some(address.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn a_question_is_answered_and_nothing_else() {
        let asked = question(7, "a.example");
        let answered = answer(&asked).unwrap();
        assert_eq!(address(&asked, &answered), Some(ADDRESS));
        assert_eq!(address(&question(8, "a.example"), &answered), None, "another question's");
        assert_eq!(address(&question(7, "b.example"), &answered), None);
        assert_eq!(answer(&answered), None, "an answer is no question");
        for length in 0..asked.len() {
            assert_eq!(answer(&asked[..length]), None, "{length}");
        }
        for length in 0..answered.len() {
            assert_eq!(address(&asked, &answered[..length]), None, "{length}");
        }
    }
}
