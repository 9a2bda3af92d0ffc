//! The one who sits in a host's namespaces.

use std::{
    io::{self, Write},
    path::Path,
};

use vestibule_lab::for_peer::Inside;

/// Says `holding`, waits for the end of standard input, and then ends everybody else in this network namespace, which
/// must not be the one named `outside`.
pub(crate) fn hold(outside: &str) -> io::Result<()> {
    let inside = Inside::of("self", Path::new(outside))?;
    println!("holding");
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    inside.end_all(None);
    Ok(())
}
