//! What a service manager hears: ready, alive, stopping.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::common::{free_port, is_stand_in, program_command, skip, temp_dir};

/// The next message, of which one line begins so; others are left out.
fn hear(socket: &UnixDatagram, line: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if message.lines().any(|one| one.starts_with(line)) {
            return message;
        }
    }
}

#[test]
fn a_service_manager_is_told() {
    if is_stand_in() {
        skip("Redis has its own words for it");
        return;
    }
    let home = temp_dir();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    // A message that never comes is a failure, not a hang.
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut child = program_command()
        .args(["start", "--port", &free_port().to_string(), "--data-dir"])
        .arg(home.path().join("d"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(hear(&socket, "READY=1").contains("STATUS=serving at 127.0.0.1:"));
    for _ in 0..3 {
        hear(&socket, "WATCHDOG=1");
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    hear(&socket, "STOPPING=1");
    assert!(child.wait().unwrap().success());
}
