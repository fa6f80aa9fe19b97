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

/// How the network between a gateway and the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections end, and new ones with them.
    Cut,
    /// Connections stay, and nothing comes through.
    Stalled,
}

/// Passes connections on to the cluster as the way is.
pub(crate) async fn network(to: String, way: watch::Receiver<Way>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            tokio::spawn(pass_on(near, to.clone(), way.clone()));
        }
    });
    address
}

async fn pass_on(mut near: TcpStream, to: String, mut way: watch::Receiver<Way>) {
    if *way.borrow() == Way::Cut {
        return;
    }
    let mut far = TcpStream::connect(to).await.unwrap();
    let mut copying = std::pin::pin!(tokio::io::copy_bidirectional(&mut near, &mut far));
    loop {
        tokio::select! {
            _ = &mut copying => return,
            _ = way.wait_for(|way| *way != Way::Open) => {}
        }
        // Whoever has gone forgot the test.
        let Ok(next) = way.wait_for(|way| *way != Way::Stalled).await else { return };
        if *next == Way::Cut {
            return;
        }
    }
}
