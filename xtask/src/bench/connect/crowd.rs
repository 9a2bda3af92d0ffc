//! A client that stays running, with many devices: each may knock once a second.

use super::Effort;
use super::stage::{Stage, example};
use crate::run::Result;
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A person may have 64.
const DEVICES_EACH: usize = 32;

/// The running client.
pub(super) struct Crowd {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    /// Enrols all devices at the gateway that hardly stretches passwords, and changes to the real one.
    pub(super) fn enrol(stage: &mut Stage, effort: Effort) -> Result<Self> {
        let mut child = Command::new(example("connects"))
            .arg(stage.dir("crowd"))
            .arg("echo")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("no stdin")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let mut crowd = Self { child, orders, answers };
        for number in 0..effort.pick(128, 32) {
            let user = format!("person{}", number / DEVICES_EACH);
            if number % DEVICES_EACH == 0 {
                stage.ask("gateway", &["user", "add", &user])?;
            }
            crowd.order(&format!("enrol {}", stage.invitation_of(&user)?), 1)?;
        }
        // Its own socket, also for root: nothing of the machine changes.
        stage.change_gateway("socket")?;
        Ok(crowd)
    }

    /// Connects so many times, one after the other; what was measured of each.
    pub(super) fn connect(&mut self, count: usize) -> Result<Vec<Value>> {
        self.order(&format!("connect {count}"), count)
    }

    /// Connects so many times, and keeps all sessions until [`let_go`](Self::let_go).
    pub(super) fn hold(&mut self, count: usize) -> Result<()> {
        let answer = self.order(&format!("hold {count}"), 1)?;
        if answer.iter().any(|answer| answer["held"].is_u64()) { Ok(()) } else { Err(format!("{answer:?}").into()) }
    }

    /// Signs them off.
    pub(super) fn let_go(&mut self) -> Result<()> {
        self.order("let-go", 1).map(drop)
    }

    fn order(&mut self, order: &str, answers: usize) -> Result<Vec<Value>> {
        writeln!(self.orders, "{order}")?;
        let told = self.answers.by_ref().take(answers);
        let told: Vec<Value> = told.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<_>>()?;
        if told.len() < answers { Err("the running client broke off".into()) } else { Ok(told) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
