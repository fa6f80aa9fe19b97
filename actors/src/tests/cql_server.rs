//! A real CQL server for the tests: started once, ended with the test process however that ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The script ends its server when our end of its input is closed: by the end of this process.
struct Server {
    _script: Child,
    nodes: Vec<String>,
}

/// `HOST:PORT` of its nodes.
pub(crate) fn nodes() -> &'static [String] {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(start).nodes
}

fn start() -> Server {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("tests/cassandra").is_dir()).unwrap();
    let mut script = Command::new(root.join("tests/cassandra/cassandra.sh"))
        .arg("serve")
        .env("CQL_LIB", root.join("target/cassandra/lib"))
        // Quicker to start; nothing here is timed, and nothing outlives the process.
        .env("CQL_JAVA_OPTS", "-Dcassandra.unsafesystem=true -XX:TieredStopAtLevel=1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(script.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // What went wrong is on the standard error output.
    let nodes = line.trim().strip_prefix("CQL_NODES=").unwrap();
    let nodes = nodes.split(',').map(str::to_owned).collect();
    Server { _script: script, nodes }
}

/// Passes connections on to the cluster until it is told that the network is cut.
pub(crate) async fn network(to: String, cut: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let (to, mut cut) = (to.clone(), cut.clone());
            tokio::spawn(async move {
                if *cut.borrow() {
                    return;
                }
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = cut.wait_for(|cut| *cut) => {}
                }
            });
        }
    });
    address
}
