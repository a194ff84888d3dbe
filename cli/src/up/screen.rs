//! Where `tombolo up` prints: lines as they come, and on a terminal a table below them that is drawn anew.
//!
//! The table is ordinary text: it is erased by moving up over it, so that what has scrolled away stays as it was and
//! can be copied.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// The screen; clones share it.
#[derive(Clone)]
pub struct Screen(Arc<Mutex<Inner>>);

struct Inner {
    live: bool,
    table: Vec<String>,
    /// Lines of the table that stand on the terminal.
    drawn: usize,
}

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

// === impl Screen ===

impl Screen {
    /// Standard output; `live` if it is a terminal that can be drawn on.
    pub fn standard() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self::new(io::stdout().is_terminal() && !dumb)
    }

    /// Lines alone, also on a terminal.
    pub fn lines() -> Self {
        Self::new(false)
    }

    fn new(live: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner { live, table: Vec::new(), drawn: 0 })))
    }

    /// Whether a table can be shown.
    pub fn is_live(&self) -> bool {
        self.lock().live
    }

    /// Prints a line, above the table.
    pub fn line(&self, text: &str) {
        let mut inner = self.lock();
        let mut out = inner.erased();
        out += text;
        out.push('\n');
        inner.draw(&mut out);
        put(&out);
    }

    /// Shows a table instead of the one before.
    pub fn table(&self, lines: Vec<String>) {
        let mut inner = self.lock();
        let mut out = inner.erased();
        inner.table = lines;
        inner.draw(&mut out);
        put(&out);
    }

    /// Leaves the table where it stands; lines come below it from now on.
    pub fn release(&self) {
        let mut inner = self.lock();
        inner.table.clear();
        inner.drawn = 0;
    }

    /// The size of the terminal; 80 by 24 if it does not tell.
    pub fn size() -> Size {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(Size { columns: 80, rows: 24 }, |size| Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    /// What erases the table that stands on the terminal.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }

    fn draw(&mut self, out: &mut String) {
        if !self.live {
            return;
        }
        // What is higher than the terminal could not be erased.
        let rows = Screen::size().rows.saturating_sub(1);
        for line in self.table.iter().take(rows) {
            out.push_str(line);
            out.push('\n');
            self.drawn += 1;
        }
    }
}

/// A reader that went away is no reason to stop.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Log lines, above the table; without a table on standard error.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        LogWriter(self.clone())
    }
}

/// Writes whole log lines to a screen.
pub struct LogWriter(Screen);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.is_live() {
            self.0.line(String::from_utf8_lossy(bytes).trim_end());
        } else {
            io::stderr().write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_erased_by_as_many_lines_as_were_drawn() {
        let screen = Screen::new(true);
        let mut inner = screen.lock();
        inner.table = vec!["a".into(), "b".into()];
        let mut out = inner.erased();
        inner.draw(&mut out);
        assert_eq!(out, "a\nb\n");
        assert_eq!(inner.erased(), "\x1b[2A\r\x1b[J");
        assert_eq!(inner.erased(), "");
    }

    #[test]
    fn without_a_terminal_there_is_no_table() {
        let screen = Screen::new(false);
        let mut inner = screen.lock();
        inner.table = vec!["a".into()];
        let mut out = inner.erased();
        inner.draw(&mut out);
        assert_eq!(out, "");
    }
}
