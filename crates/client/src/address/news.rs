//! News of this machine's addresses and routes, as the kernel tells them (`rtnetlink(7)`): so that a change is not found by the
//! next look, but at once.

use std::time::{Duration, Instant};
#[cfg(target_os = "linux")]
use {
    rustix::net::{AddressFamily, SocketFlags, SocketType, netlink},
    std::io,
    tokio::net::UnixDatagram,
};

/// News that come within this time of others are told with the next.
const TOGETHER: Duration = Duration::from_millis(50);

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`.
#[cfg(target_os = "linux")]
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// The news from now on. Where the kernel tells none, there are none: whoever waits for them must look now and then, too.
pub(crate) struct News {
    #[cfg(target_os = "linux")]
    socket: Option<UnixDatagram>,
    quiet_until: Instant,
}

impl News {
    /// Asks for them. Call it inside a tokio runtime.
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            socket: listen().ok(),
            quiet_until: Instant::now(),
        }
    }

    /// Waits for the next. What they say is not looked at: the routing itself is asked. Cancel-safe.
    pub(crate) async fn heard(&mut self) {
        tokio::time::sleep_until(self.quiet_until.into()).await;
        #[cfg(target_os = "linux")]
        if let Some(socket) = &self.socket
            && wait(socket).await.is_ok()
        {
            self.quiet_until = Instant::now() + TOGETHER;
            return;
        }
        std::future::pending().await
    }
}

/// A socket of the kernel's. To the runtime it is as any local one that takes datagrams.
#[cfg(target_os = "linux")]
fn listen() -> io::Result<UnixDatagram> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0 is routing.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, GROUPS))?;
    UnixDatagram::from_std(socket.into())
}

/// Waits for news, and takes all that there are.
#[cfg(target_os = "linux")]
async fn wait(socket: &UnixDatagram) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut any = false;
    loop {
        match socket.try_recv(&mut buffer) {
            Ok(_) => any = true,
            // The kernel had more to tell than there was room: news as well.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => any = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && any => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.readable().await?,
            Err(error) => return Err(error),
        }
    }
}
