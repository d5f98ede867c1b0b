//! Posts a file of line protocol over several connections.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Sends all lines, `lines` a request, each connection to one of the addresses, and gives their number; a request that is
/// told to retry is sent again.
pub(crate) fn post_lines(
    urls: &[String],
    path: &Path,
    lines: usize,
    connections: usize,
) -> io::Result<u64> {
    let reader = Mutex::new(BufReader::with_capacity(8 << 20, File::open(path)?));
    std::thread::scope(|scope| {
        let reader = &reader;
        let urls = urls.iter().cycle().take(connections);
        let workers: Vec<_> =
            urls.map(|url| scope.spawn(move || work(url, reader, lines))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).sum()
    })
}

fn work(url: &str, reader: &Mutex<BufReader<File>>, lines: usize) -> io::Result<u64> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut body = Vec::with_capacity(4 << 20);
    let mut sent = 0;
    loop {
        body.clear();
        {
            let mut reader = reader.lock().expect("no worker panics while it reads");
            for _ in 0..lines {
                if reader.read_until(b'\n', &mut body)? == 0 {
                    break;
                }
                sent += 1;
            }
        }
        if body.is_empty() {
            return Ok(sent);
        }
        loop {
            let mut answer = agent.post(url).send(&body[..]).map_err(io::Error::other)?;
            match answer.status().as_u16() {
                200 | 204 => break,
                503 => crate::wait(Duration::from_millis(50)),
                status => {
                    let text = answer.body_mut().read_to_string().unwrap_or_default();
                    return Err(io::Error::other(format!(
                        "a write was answered with {status}: {text}"
                    )));
                }
            }
        }
    }
}
