//! Stands between the program and a database, and understands just enough of what they say to each other
//! to be in the way at the worst moment.
//!
//! A packet is three bytes of length, one of sequence, and so many bytes; a command is a packet of
//! sequence 0, whose first byte says which: <https://mariadb.com/kb/en/0-packet/>.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::DEADLINE;

/// Which command is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Commit,
    /// The COMMIT after so many others.
    NthCommit(u32),
    /// So many commands after this was said; 0 is the next one.
    Nth(u32),
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// It does not arrive; the connection is gone.
    CutBefore,
    /// It arrives; the connection is gone at once.
    CutDuring,
    /// It is answered; the connection is gone before the answer arrives.
    CutAfter,
    /// The answer comes late.
    Delay(Duration),
    /// The answer never comes; the connection stays.
    Swallow,
    /// It does not arrive; the connection stays.
    HoldBefore,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<(When, Harm)>,
    /// Commands since the plan was made.
    commands: u32,
    commits: u32,
    /// Whether the plan was carried out.
    done: bool,
    /// Whether nobody comes through after that.
    refuses: bool,
    connections: Vec<TcpStream>,
}

/// A proxy; its threads end with their connections.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Proxy {
    /// In front of a port of this machine.
    pub(crate) fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let proxy = Self {
            port: listener.local_addr().expect("an address").port(),
            state: Arc::default(),
        };
        let accepting = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = accepting.state.0.lock().expect("a whole state");
                let is_refused = state.refuses && state.done;
                drop(state);
                if is_refused {
                    continue;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                accepting.clone().relay(client, server);
            }
        });
        proxy
    }

    /// From now on; what was planned before is forgotten.
    pub(crate) fn plan(&self, when: When, harm: Harm) {
        let mut state = self.state.0.lock().expect("a whole state");
        (state.plan, state.done) = (Some((when, harm)), false);
        (state.commands, state.commits) = (0, 0);
    }

    /// Whether new connections are cut off once the plan was carried out.
    pub(crate) fn refuse_after_harm(&self, refuses: bool) {
        self.state.0.lock().expect("a whole state").refuses = refuses;
    }

    /// Whether the plan was carried out.
    pub(crate) fn is_done(&self) -> bool {
        self.state.0.lock().expect("a whole state").done
    }

    /// Waits until it was, or until `given_up` says that it will not be.
    pub(crate) fn wait_done(&self, mut given_up: impl FnMut() -> bool) -> bool {
        let (state, changed) = &*self.state;
        let mut state = state.lock().expect("a whole state");
        let mut waited = Duration::ZERO;
        const STEP: Duration = Duration::from_millis(10);
        while !state.done {
            if given_up() {
                return false;
            }
            assert!(waited < DEADLINE, "nothing met {:?}", state.plan);
            waited += STEP;
            state = changed.wait_timeout(state, STEP).expect("a whole state").0;
        }
        true
    }

    /// Lets all go on that was held, by cutting it off.
    pub(crate) fn cut_all(&self) {
        let mut state = self.state.0.lock().expect("a whole state");
        state.plan = None;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn relay(self, client: TcpStream, server: TcpStream) {
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let mut state = self.state.0.lock().expect("a whole state");
        state.connections.extend([clone(&client), clone(&server)]);
        drop(state);
        let answers = Arc::new(Answers::default());
        let (from, to) = (clone(&server), clone(&client));
        let of_server = Arc::clone(&answers);
        thread::spawn(move || of_server.relay(from, to));
        thread::spawn(move || {
            let _ = self.commands_of(&client, &server, &answers);
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
    }

    fn commands_of(
        &self,
        mut client: &TcpStream,
        mut server: &TcpStream,
        answers: &Answers,
    ) -> io::Result<()> {
        loop {
            let mut header = [0; 4];
            client.read_exact(&mut header)?;
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
            let mut packet = header.to_vec();
            packet.resize(4 + length as usize, 0);
            client.read_exact(&mut packet[4..])?;
            let harm = match header[3] {
                0 => self.harm(&packet[4..]),
                _ => None,
            };
            match harm {
                Some(Harm::CutBefore) => return Ok(()),
                Some(Harm::HoldBefore) => {
                    // Until the client gives up, or all is cut off.
                    let _ = client.read_exact(&mut [0]);
                    return Ok(());
                }
                Some(Harm::CutDuring) => {
                    server.write_all(&packet)?;
                    let _ = client.shutdown(Shutdown::Both);
                    // The server reads what has arrived before it sees the end.
                    let _ = server.shutdown(Shutdown::Write);
                    answers.wait_for_end();
                    return Ok(());
                }
                Some(Harm::CutAfter) => answers.cut.store(true, Ordering::SeqCst),
                Some(Harm::Swallow) => answers.swallow.store(true, Ordering::SeqCst),
                Some(Harm::Delay(delay)) => {
                    *answers.delay.lock().expect("a whole state") = Some(delay);
                }
                None => {}
            }
            server.write_all(&packet)?;
        }
    }

    fn harm(&self, command: &[u8]) -> Option<Harm> {
        const QUERY: u8 = 3;
        let (state, changed) = &*self.state;
        let mut state = state.lock().expect("a whole state");
        let number = state.commands;
        state.commands += 1;
        let (when, harm) = state.plan?;
        let text = command.get(1..).unwrap_or_default().trim_ascii();
        let is_commit = command.first() == Some(&QUERY) && text == b"COMMIT";
        let commits = state.commits;
        state.commits += u32::from(is_commit);
        let is_meant = match when {
            When::Commit => is_commit,
            When::NthCommit(wanted) => is_commit && commits == wanted,
            When::Nth(wanted) => number == wanted,
        };
        if !is_meant || state.done {
            return None;
        }
        state.done = true;
        changed.notify_all();
        Some(harm)
    }
}

/// What the server says to one client.
#[derive(Debug, Default)]
struct Answers {
    cut: AtomicBool,
    swallow: AtomicBool,
    delay: Mutex<Option<Duration>>,
    ended: (Mutex<bool>, Condvar),
}

impl Answers {
    fn relay(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            if self.cut.load(Ordering::SeqCst) {
                break;
            }
            if self.swallow.load(Ordering::SeqCst) {
                continue;
            }
            let delay = self.delay.lock().expect("a whole state").take();
            if let Some(delay) = delay {
                // A slow network is what this is about.
                thread::sleep(delay);
            }
            if client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
        *self.ended.0.lock().expect("a whole state") = true;
        self.ended.1.notify_all();
    }

    fn wait_for_end(&self) {
        let ended = self.ended.0.lock().expect("a whole state");
        let ended = self
            .ended
            .1
            .wait_timeout_while(ended, DEADLINE, |ended| !*ended);
        drop(ended);
    }
}
