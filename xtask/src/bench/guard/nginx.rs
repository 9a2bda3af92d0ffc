//! nginx as the peer: one worker, three ways to the same application.

use super::super::peer::Peer;
use crate::bench::connect::{free_tcp, listens, wait};
use crate::run::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fs, io};

/// Where Debian's package comes from.
pub(super) const NGINX: Peer = Peer::new("nginx", "nginx-light");

/// A running one; ended with its owner.
pub(super) struct Nginx {
    child: Child,
    /// `proxy_pass` alone.
    pub(super) passing: SocketAddr,
    /// `sub_filter` puts a constant before every address of a page.
    pub(super) rewriting: SocketAddr,
    /// `sub_filter` puts a constant script and a constant field into a page.
    pub(super) inserting: SocketAddr,
}

impl Nginx {
    /// Starts the program in a folder, in front of a site.
    pub(super) fn start(program: &Path, folder: &Path, site: SocketAddr) -> Result<Self> {
        let [passing, rewriting, inserting] = [free_tcp()?, free_tcp()?, free_tcp()?];
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(folder, site, [passing, rewriting, inserting]))?;
        let log = fs::File::create(folder.join("nginx.out"))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(folder).arg("-e").arg(folder.join("nginx.log")).arg("-c").arg(&file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let nginx = Self { child, passing, rewriting, inserting };
        wait("nginx", || listens(inserting)).map_err(|error| told(&error.to_string(), folder))?;
        Ok(nginx)
    }

    /// Its process, which is its one worker too.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn told(error: &str, folder: &Path) -> io::Error {
    io::Error::other(format!("{error}\n{}", fs::read_to_string(folder.join("nginx.out")).unwrap_or_default()))
}

fn configuration(folder: &Path, site: SocketAddr, ports: [SocketAddr; 3]) -> String {
    let folder = folder.display();
    let ways = [
        "",
        r#"sub_filter 'href="/' 'href="/0123456789abcdef/'; sub_filter_once off;"#,
        r#"sub_filter '<title>' '<script src="/guard.js" data-page="constant"></script><title>';
           sub_filter '<input name="item">' '<input type="hidden" name="page" value="constant"><input name="item">';
           sub_filter_once off;"#,
    ];
    let servers = ways.iter().zip(ports).map(|(way, port)| {
        format!("server {{ listen {port} backlog=512; location / {{ proxy_pass http://site; {way} }} }}\n")
    });
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; tcp_nodelay on;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
         upstream site {{ server {site}; keepalive 64; keepalive_requests 1000000000; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Accept-Encoding '';\n\
         proxy_buffer_size 16k; proxy_buffers 16 16k; proxy_max_temp_file_size 0;\n\
         {}}}\n",
        servers.collect::<String>()
    )
}
