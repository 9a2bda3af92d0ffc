//! Local proxies of `up`: one HTTP port (CONNECT, absolute-form requests, and `NAME.localhost` web services) and one
//! SOCKS5 port. Both lead to services and nowhere else.

mod headers;
mod http;
mod page;
mod route;
mod socks;

pub use http::HttpProxy;
pub use socks::SocksProxy;
