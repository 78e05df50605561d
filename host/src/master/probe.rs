//! Questions to a worker that does not accept yet, over a connection made for it alone.
//!
//! Owns as much HTTP as it takes to read a status line.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::{event::PollFlags, io::Errno, net::SendFlags};

/// How often a question is asked before its answer counts.
const TRIES: u8 = 3;

/// More than any status line. Units: bytes.
const LINE_BYTES: usize = 256;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    method: &'static str,
    path: String,
    tries: u8,
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Probe {
    socket: OwnedFd,
    question: Question,
    request: Vec<u8>,
    answer: Vec<u8>,
    left: Vec<Question>,
}

/// What has become of it.
#[derive(Debug)]
pub(super) enum Look {
    /// It is answered: these are left.
    Next(Vec<Question>),
    /// The worker is not fit to serve.
    Bad(String),
    /// Nothing yet.
    Wait,
}

impl Probe {
    /// Everything to ask, the first one last: whether it serves at all, then what the operator
    /// wants to know.
    pub(super) fn list(paths: &[String]) -> Vec<Question> {
        let question = |method, path: &str| Question { method, path: path.to_owned(), tries: 0 };
        let own = question("OPTIONS", "*");
        paths.iter().rev().map(|path| question("GET", path)).chain([own]).collect()
    }

    pub(super) fn new(socket: OwnedFd, question: Question, left: Vec<Question>) -> Self {
        let Question { method, path, .. } = &question;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: hotseat-probe\r\n\
             Connection: close\r\n\r\n"
        );
        Self { socket, request: request.into_bytes(), question, answer: Vec::new(), left }
    }

    pub(super) fn wait(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = if self.request.is_empty() { PollFlags::IN } else { PollFlags::OUT };
        (self.socket.as_fd(), flags)
    }

    /// Does what can be done now; `over`: its time is up.
    pub(super) fn look(&mut self, over: bool) -> Look {
        let mut closed = false;
        if !self.request.is_empty() {
            match rustix::net::send(&self.socket, &self.request, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.request.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => closed = true,
            }
        }
        let mut piece = [0; 1024];
        while !closed && self.request.is_empty() && self.answer.len() < LINE_BYTES {
            match rustix::io::read(&self.socket, &mut piece) {
                Ok(0) => closed = true,
                Ok(count) => self.answer.extend_from_slice(&piece[..count]),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => closed = true,
            }
        }
        let Question { method, path, tries } = &self.question;
        let why = match status(&self.answer) {
            Some(status) if status < 500 => return Look::Next(std::mem::take(&mut self.left)),
            Some(status) => format!("answered {status} to {method} {path}"),
            None if closed => format!("did not answer {method} {path}"),
            None if over => format!("did not answer {method} {path} in time"),
            None => return Look::Wait,
        };
        if tries + 1 >= TRIES {
            return Look::Bad(why);
        }
        let again = Question { tries: tries + 1, ..self.question.clone() };
        let mut left = std::mem::take(&mut self.left);
        left.push(again);
        Look::Next(left)
    }
}

/// The status of an answer whose first line is there.
fn status(answer: &[u8]) -> Option<u16> {
    let line =
        answer.split(|byte| *byte == b'\n').next().filter(|line| line.len() < answer.len())?;
    let mut words = line.split(|byte| *byte == b' ');
    words.next().filter(|version| version.starts_with(b"HTTP/1."))?;
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_once_its_line_is_there() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.1 204"), None);
        assert_eq!(status(b"SSH-2.0\n"), None);
    }

    #[test]
    fn own_question_comes_first() {
        let list = Probe::list(&["/a".to_owned(), "/b".to_owned()]);
        let paths: Vec<_> = list.iter().rev().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["*", "/a", "/b"]);
    }
}
