//! How long each test takes: `./run test` names the slowest ones.

use std::{env, fs::OpenOptions, io::Write, thread, time::Instant};

thread_local! {
    static WATCH: Watch = Watch::start();
}

/// Begins to measure the test that calls this, unless that has begun already. It ends with the test's thread.
pub fn measure() {
    WATCH.with(|_| ());
}

struct Watch {
    /// Only the thread of a test bears a test's name.
    test: Option<String>,
    begun: Instant,
}

impl Watch {
    fn start() -> Self {
        let test = thread::current().name().filter(|name| name.contains("::")).map(str::to_owned);
        Self { test, begun: Instant::now() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (Some(test), Some(file)) = (&self.test, env::var_os("DAYBOOK_TEST_TIMES")) else { return };
        let line = format!("{} {test}\n", self.begun.elapsed().as_millis());
        // Tests end at the same time as others. A line that is appended at once is not torn apart by theirs.
        let appended = OpenOptions::new().create(true).append(true).open(file);
        if let Err(error) = appended.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("the time of {test} is not kept: {error}");
        }
    }
}
