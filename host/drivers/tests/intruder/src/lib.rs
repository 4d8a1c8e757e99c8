//! A driver for tests of the host: it reaches for files, sockets and the environment, and tells what it got; it counts the calls
//! of its instance in its own memory; it takes memory and keeps it.

use ostler_driver::{
    Context, Description, Driver, Error, Extra, Health, Image, Node, NodeSpec, Page, Result, Setting, Size, export_driver,
};
use serde_json::{Value, json};
use std::io::Read;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const MIB: usize = 1 << 20;
/// Bytes of a log line that the host keeps.
const LINE: usize = 4 << 10;

/// How often `list-sizes` has been called in this instance.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// What this instance has taken.
static HOARD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The driver.
pub struct Intruder {
    ctx: Context,
}

export_driver!(Intruder);

/// What can be had besides the granted capabilities: each `true` or number above zero is a hole.
fn loot(address: &str) -> Value {
    let mut input = Vec::new();
    // Standard input may be closed, which is as good as empty.
    let _ = std::io::stdin().read_to_end(&mut input);
    let count = |paths: &[&str], works: fn(&str) -> bool| paths.iter().filter(|path| works(path)).count();
    json!({
        "directories": count(&["/", ".", "/etc", "/tmp"], |path| std::fs::read_dir(path).is_ok()),
        "read": count(&["/etc/passwd", "/proc/self/environ", "Cargo.toml"], |path| std::fs::read(path).is_ok()),
        "write": count(&["/tmp/intruder", "intruder"], |path| std::fs::write(path, "x").is_ok()),
        "environment": std::env::vars_os().count(),
        "arguments": std::env::args_os().count(),
        "input": input.len(),
        "connect": TcpStream::connect(address).is_ok(),
        "listen": TcpListener::bind("127.0.0.1:0").is_ok(),
        "datagram": UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", address)).is_ok(),
        "resolve": ("localhost", 80).to_socket_addrs().map_or(0, Iterator::count),
    })
}

impl Driver for Intruder {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn describe(_: &Context) -> Description {
        Description::new("intruder", env!("CARGO_PKG_VERSION"), "intruder", "Intruder")
            .with_setting(Setting::optional("address", "A TCP address that `check` tries to connect to."))
            .with_setting(Setting::secret("password", "What `list-images` logs."))
    }

    fn check(&self) -> Result<Health> {
        let address = self.ctx.config().get("address").unwrap_or_else(|| "127.0.0.1:1".to_owned());
        Ok(Health::default().with_extra(loot(&address)))
    }

    /// Logs the secret so that the end of what is kept of a line falls into its middle, and prints it.
    #[allow(clippy::print_stderr, reason = "the point of it")]
    fn list_images(&self, _: Option<&str>) -> Result<Page<Image>> {
        let password = self.ctx.secrets().require("password")?;
        let straddling = format!("{}{password}", "x".repeat(LINE - password.len() / 2));
        self.ctx.log().info(&straddling, &[("field", &straddling)]);
        eprintln!("printed: {password}");
        Ok(Page::last(Vec::new()))
    }

    /// `keep-N` takes N mebibytes and keeps them; `bounce` asks for more than there can be and copes; `trap` traps;
    /// anything else is an error that repeats the name.
    fn get_image(&self, id: &str) -> Result<Image> {
        match id {
            "bounce" => {
                let mut room = Vec::<u8>::new();
                if room.try_reserve_exact(1 << 30).is_ok() {
                    return Err(Error::Failed("a gibibyte was to be had".to_owned()));
                }
            }
            #[allow(clippy::panic, reason = "the point of it")]
            "trap" => panic!("as told"),
            keep => {
                let count: Option<usize> = keep.strip_prefix("keep-").and_then(|count| count.parse().ok());
                let count = count.ok_or_else(|| Error::not_found("image", id))?;
                HOARD.lock().map_err(|e| Error::Failed(e.to_string()))?.push(vec![1; count * MIB]);
            }
        }
        Ok(Image::new(id, id))
    }

    /// One size, whose memory is the number of times that this instance has been asked.
    fn list_sizes(&self, _: Option<&str>) -> Result<Page<Size>> {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Page::last(vec![Size::new("calls", "Calls", calls, 0)]))
    }

    fn list_nodes(&self, _: Option<&str>) -> Result<Page<Node>> {
        Ok(Page::last(Vec::new()))
    }

    fn get_node(&self, id: &str) -> Result<Node> {
        Err(Error::not_found("node", id))
    }

    fn find_node(&self, _: &str) -> Result<Option<Node>> {
        Ok(None)
    }

    fn create_node(&self, _: &str, _: NodeSpec) -> Result<Node> {
        Err(Error::unsupported("creating nodes"))
    }

    fn destroy_node(&self, id: &str) -> Result<()> {
        Err(Error::not_found("node", id))
    }
}
