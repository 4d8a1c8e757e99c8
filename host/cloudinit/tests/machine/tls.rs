//! Reports go to the host that the given authority vouches for, and to no other.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use ostler_cloudinit::Lifecycle;

use crate::place::{Place, Shell, clients, program, shell};

/// A server with the certificate and key of the file that it is given; it prints its port.
const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn only_the_host_of_the_authority_gets_reports() {
    let (Some(python), Some(openssl)) = (program("python3"), program("openssl")) else { return };
    let directory = tempfile::TempDir::new().unwrap();
    let make = |name: &str| {
        let (certificate, key) = (directory.path().join(format!("{name}.pem")), directory.path().join(format!("{name}.key")));
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost";
        let mut command = Command::new(&openssl);
        command.args(words.split_whitespace()).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        assert!(command.stderr(Stdio::null()).status().unwrap().success());
        (certificate, key)
    };
    let (certificate, key) = make("host");
    let (other, _) = make("other");
    let mut server = Command::new(python);
    server.args(["-c", SERVER]).arg(&certificate).arg(key).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Running(server.spawn().unwrap());
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let right = std::fs::read_to_string(certificate).unwrap();
    let wrong = std::fs::read_to_string(other).unwrap();
    for client in clients() {
        for (authority, expected) in [(Some(&right), 0), (Some(&wrong), 75), (None, 75)] {
            let place = Place::new(Shell::System, client);
            let mut machine = place.machine(vec![shell(Lifecycle::Create, "true")]);
            let report = machine.report.as_mut().unwrap();
            report.url = format!("https://localhost:{}/", port.trim());
            report.ca_pem = authority.cloned();
            place.install(&machine);
            let (status, text) = place.boot();
            assert_eq!(status, expected, "{client} {authority:?}: {text}");
        }
    }
}
