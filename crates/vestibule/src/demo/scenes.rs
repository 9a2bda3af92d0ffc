//! The demo's story, scene by scene.

use super::Story;
use super::cast::{ALICE, Cast, PASSWORD, STRANGER, WRONG_PASSWORD};
use super::guarded;
use super::stranger::{self, Scan};
use super::upstream::GREETING;
use crate::fault::Fault;
use crate::output;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How often it is looked whether Alice's session still stands.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How soon a revocation must have cut a live flow (promise P7).
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// How long a read or connect of the demo may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Plays all scenes.
pub(crate) fn play(story: &mut Story, cast: &mut Cast) -> Result<(), Fault> {
    set_the_stage(story, cast)?;
    stranger_before(story, cast)?;
    enrolment(story, cast)?;
    wrong_password(story, cast)?;
    alice_comes_in(story, cast)?;
    traffic(story, cast)?;
    guarded::play(story, cast)?;
    neighbour(story, cast)?;
    revocation(story, cast)
}

fn set_the_stage(story: &mut Story, cast: &mut Cast) -> Result<(), Fault> {
    story.step("Two doors are put up");
    cast.start_upstreams()?;
    cast.start_controller()?;
    story.tell(&format!("controller on {} (one UDP port, no TCP port)", cast.controller));
    let started = Instant::now();
    cast.start_gateway()?;
    story.check(
        true,
        &format!("gateway on {}, linked to the controller after {} ms", cast.gateway, started.elapsed().as_millis()),
    );
    story.tell(&format!(
        "behind it: a web page on {}, an order-entry application on {} and a TCP service on {}",
        cast.web, cast.orders, cast.tcp
    ));
    Ok(())
}

fn stranger_before(story: &mut Story, cast: &Cast) -> Result<(), Fault> {
    story.step("A stranger scans every port in use");
    let scan = scan(STRANGER, cast)?;
    tell_scan(story, "the stranger", scan);
    Ok(())
}

fn enrolment(story: &mut Story, cast: &mut Cast) -> Result<(), Fault> {
    story.step("Alice enrols her laptop");
    let link = cast.invite_alice()?;
    story.tell(&format!("`vestibule invite alice` printed a single-use link of {} characters", link.len()));
    let started = Instant::now();
    cast.enroll(&link)?;
    story.check(true, &format!("enrolled in {} ms, two Argon2id runs included", started.elapsed().as_millis()));
    let again = cast.enroll(&link);
    story.check(again.is_err(), "the same link does not work a second time");
    Ok(())
}

fn wrong_password(story: &mut Story, cast: &Cast) -> Result<(), Fault> {
    story.step("Somebody types a wrong password on Alice's laptop");
    let before = cast.knocks_and_strangers()?;
    let refused = cast.pipe(WRONG_PASSWORD)?;
    let after = cast.knocks_and_strangers()?;
    let code = refused.status.code();
    story.check(code == Some(10), &format!("refused on the laptop itself, exit code {}", code.unwrap_or(-1)));
    story.check(
        after == before,
        &format!("datagrams that reached either door meanwhile, by the sockets' own counters: {}", after - before),
    );
    let welcome = cast.pipe(PASSWORD)?;
    let counted = cast.knocks_and_strangers()? - after;
    story.check(
        welcome.status.success() && welcome.stdout == GREETING.as_bytes() && counted > 0,
        &format!("with the right password the same command comes in, and the same counters move: {counted}"),
    );
    Ok(())
}

fn alice_comes_in(story: &mut Story, cast: &mut Cast) -> Result<(), Fault> {
    story.step("Alice types the right one");
    let status = cast.start_up()?;
    let millis = |name: &str| status["timings"][name].as_f64();
    let spans = [
        ("argon2id_ms", "local authentication: the password's Argon2id (256 MiB)"),
        ("knock_to_ready_ms", "knock to ready: controller, gateway and back"),
        ("dial_ms", "TLS 1.3 with both keys pinned, over QUIC"),
        ("ksf_ms", "OPAQUE's own Argon2id (64 MiB), also on the laptop"),
        ("login_ms", "the rest of the login by OPAQUE"),
    ];
    for (name, what) in spans {
        let measured = millis(name);
        story.check(measured.is_some(), &format!("{:>9.2} ms  {what}", measured.unwrap_or(f64::NAN)));
    }
    Ok(())
}

fn traffic(story: &mut Story, cast: &Cast) -> Result<(), Fault> {
    story.step("Traffic goes through the tunnel");
    let (page, first_byte) = fetch(cast.http_proxy, "web.localhost")?;
    story.check(
        page.contains("You are behind two doors"),
        &format!("http://web.localhost:{}/ answers, first byte after {}", cast.http_proxy.port(), millis(first_byte)),
    );
    let started = Instant::now();
    let mut hello = connect(cast.forward)?;
    let greeting = read_line(&mut hello)?;
    let opened = started.elapsed();
    story.check(
        greeting == GREETING,
        &format!("the TCP service greets through {} after {}", cast.forward, millis(opened)),
    );
    let mut trips: Vec<Duration> = (0..200).map(|_| round_trip(&mut hello)).collect::<Result<_, _>>()?;
    trips.sort();
    story.check(true, &format!("64 bytes there and back, median of {}: {} µs", trips.len(), trips[100].as_micros()));
    Ok(())
}

fn neighbour(story: &mut Story, cast: &Cast) -> Result<(), Fault> {
    story.step("A second client knocks on, from Alice's own address, without a grant");
    let scan = scan(ALICE, cast)?;
    tell_scan(story, "the neighbour", scan);
    Ok(())
}

fn revocation(story: &mut Story, cast: &mut Cast) -> Result<(), Fault> {
    story.step("The owner revokes Alice's session");
    let mut hello = connect(cast.forward)?;
    read_line(&mut hello)?;
    round_trip(&mut hello)?;
    let dir = cast.dir("gateway");
    let sessions: Vec<serde_json::Value> = cast.stage.ask(&["session", "list", "--dir", &dir, "--json"], None)?;
    let live =
        sessions.iter().filter(|session| session["ended"].is_null()).filter_map(|session| session["id"].as_str());
    let started = Instant::now();
    for session in live {
        cast.stage.ask::<serde_json::Value, _>(&["session", "revoke", session, "--dir", &dir, "--json"], None)?;
    }
    let cut = wait_for_cut(&mut hello, started)?;
    story.check(
        cut.is_some_and(|cut| cut <= CUT_WITHIN),
        &match cut {
            Some(cut) => format!("her live flow was cut {} after the command was given", millis(cut)),
            None => "her live flow still lives".to_owned(),
        },
    );
    let refused =
        connect(cast.forward).and_then(|mut stream| read_line(&mut stream)).map_or(true, |line| line.is_empty());
    story.check(refused, "nothing goes through any more");
    cast.stage.end("client");
    let scan = scan(STRANGER, cast)?;
    tell_scan(story, "the stranger, asking again,", scan);
    Ok(())
}

/// Keeps everything up, with Alice logged in again, until Ctrl-C.
pub(crate) fn stay(cast: &mut Cast) -> Result<(), Fault> {
    cast.start_up()?;
    let program = cast.stage.program().display().to_string();
    let (client, gateway, controller) = (cast.dir("client"), cast.dir("gateway"), cast.dir("controller"));
    let http = cast.http_proxy;
    for line in [
        String::new(),
        "Everything stays up until Ctrl-C. Alice is logged in again; try:".to_owned(),
        format!("  curl http://web.localhost:{}/     (or open it in a browser)", http.port()),
        format!(
            "  http://orders.localhost:{}/     (in a browser: click twice, go Back and send again, /.vestibule/)",
            http.port()
        ),
        format!("  curl --socks5-hostname {} http://web/", cast.socks_proxy),
        format!("  curl --proxy http://{http} http://web/"),
        format!("  {program} pipe hello --dir {client}     (a TCP service; Ctrl-D ends it)"),
        format!("  {program} status --dir {client}"),
        format!("  {program} session list --dir {gateway}"),
        format!("  {program} audit --dir {gateway}"),
        format!("  {program} user suspend alice --dir {gateway}"),
        format!("  {program} controller status --dir {controller}"),
        format!("  (Alice's password is: {PASSWORD})"),
    ] {
        output::line(&line);
    }
    crate::roles::brief_runtime()?.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let listen =
            |kind| signal(kind).map_err(|error| Fault::unexpected(format!("signals can't be handled: {error}")));
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => tell_end(cast),
            }
        }
    })
}

/// Tells when Alice's session is over: the person at the screen has suspended her, say.
fn tell_end(cast: &mut Cast) {
    let Some(words) = cast.stage.last_words("client") else { return };
    // Its log goes further back than its end.
    let words = words.rfind("error:").map_or(words.as_str(), |last| &words[last..]);
    let (program, client, gateway) = (cast.stage.program().display(), cast.dir("client"), cast.dir("gateway"));
    for line in [
        String::new(),
        "Alice's session is over. Her client said:".to_owned(),
        words.to_owned(),
        format!("  If she is suspended: {program} user resume alice --dir {gateway}"),
        format!(
            "  She logs in again by: {program} up --dir {client} --http {} --socks {}",
            cast.http_proxy, cast.socks_proxy
        ),
    ] {
        output::line(&line);
    }
}

fn scan(source: std::net::IpAddr, cast: &Cast) -> Result<Scan, Fault> {
    stranger::scan(source, &[cast.controller, cast.gateway])
        .map_err(|error| Fault::unexpected(format!("the scan from {source} could not be made: {error}")))
}

fn tell_scan(story: &mut Story, who: &str, scan: Scan) {
    story.check(
        scan.saw_nothing(),
        &format!(
            "{who} sent {} datagrams to both UDP ports and got {} back; of the same TCP ports {} accepted, {} differed from an unused port",
            scan.probes, scan.replies, scan.accepted, scan.conspicuous
        ),
    );
}

pub(super) fn connect(address: SocketAddr) -> Result<TcpStream, Fault> {
    let open = || {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    open().map_err(|error: std::io::Error| Fault::unexpected(format!("{address} can't be reached: {error}")))
}

fn fetch(proxy: SocketAddr, host: &str) -> Result<(String, Duration), Fault> {
    let started = Instant::now();
    let mut stream = connect(proxy)?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}:{}\r\nConnection: close\r\n\r\n", proxy.port());
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut first = [0];
    stream.read_exact(&mut first).map_err(broken)?;
    let first_byte = started.elapsed();
    let mut rest = String::new();
    stream.take(1 << 20).read_to_string(&mut rest).map_err(broken)?;
    Ok((rest, first_byte))
}

fn read_line(stream: &mut TcpStream) -> Result<String, Fault> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') && line.len() < 1_024 {
        match stream.read(&mut byte) {
            Ok(0) | Err(_) => break,
            Ok(_) => line.push(byte[0]),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn round_trip(stream: &mut TcpStream) -> Result<Duration, Fault> {
    let started = Instant::now();
    let mut bytes = [b'.'; 64];
    stream.write_all(&bytes).map_err(broken)?;
    stream.read_exact(&mut bytes).map_err(broken)?;
    Ok(started.elapsed())
}

/// Sends on until the flow is cut; when that was, counted from `started`.
fn wait_for_cut(stream: &mut TcpStream, started: Instant) -> Result<Option<Duration>, Fault> {
    stream.set_read_timeout(Some(Duration::from_millis(20))).map_err(broken)?;
    let mut bytes = [0; 64];
    while started.elapsed() < CUT_WITHIN + PATIENCE {
        if stream.write_all(b"still there?").is_err() {
            return Ok(Some(started.elapsed()));
        }
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(Some(started.elapsed())),
            Err(error)
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                return Ok(Some(started.elapsed()));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

pub(super) fn broken(error: std::io::Error) -> Fault {
    Fault::unexpected(format!("a connection of the demo broke: {error}"))
}

fn millis(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1_000.0)
}
