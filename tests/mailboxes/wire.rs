//! A client's end of a connection: sends commands with literals, reads responses, keeps a
//! transcript for messages of failing tests.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read, Write},
};

use crate::value::{Response, Value, literal_length, response};

/// Lines of the transcript that are kept.
const TRANSCRIPT_MAX: usize = 400;

/// A piece of a command.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Text(String),
    Literal(Vec<u8>),
}

/// Everything that a command was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) untagged: Vec<Response>,
    pub(crate) condition: String,
    pub(crate) code: Vec<Value>,
    raw: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        self.raw.escape_ascii().to_string().replace("\\r\\n", "\n").replace("\\\"", "\"")
    }
}

pub(crate) struct Wire {
    input: BufReader<Box<dyn Read + Send>>,
    output: Box<dyn Write + Send>,
    commands: u32,
    transcript: VecDeque<String>,
}

impl Wire {
    pub(crate) fn new(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
    ) -> Self {
        let (input, output) = (BufReader::new(Box::new(input) as Box<_>), Box::new(output));
        Self { input, output, commands: 0, transcript: VecDeque::new() }
    }

    /// What was said lately, both ways.
    pub(crate) fn transcript(&self) -> String {
        self.transcript.iter().flat_map(|line| [line, "\n"]).collect()
    }

    fn note(&mut self, who: &str, octets: &[u8]) {
        if self.transcript.len() == TRANSCRIPT_MAX {
            self.transcript.pop_front();
        }
        let shown = &octets[..octets.len().min(600)];
        self.transcript.push_back(format!("{who}: {}", shown.trim_ascii_end().escape_ascii()));
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.note("C", octets);
        if let Err(error) = self.output.write_all(octets).and_then(|()| self.output.flush()) {
            panic!("{error}, after\n{}", self.transcript());
        }
    }

    /// Reads one response with its literals.
    pub(crate) fn octets(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        loop {
            let begin = octets.len();
            let read = self.input.read_until(b'\n', &mut octets);
            let ended = !matches!(read, Ok(1..));
            assert!(!ended, "the connection ended: {read:?}, after\n{}", self.transcript());
            let Some(length) = literal_length(&octets[begin..]) else { break };
            let begin = octets.len();
            octets.resize(begin + length, 0);
            if let Err(error) = self.input.read_exact(&mut octets[begin..]) {
                panic!("{error}, after\n{}", self.transcript());
            }
        }
        self.note("S", &octets);
        octets
    }

    /// The next response.
    pub(crate) fn response(&mut self) -> Response {
        response(&self.octets())
    }

    /// A tag that was not used.
    pub(crate) fn tag(&mut self) -> String {
        self.commands += 1;
        format!("t{}", self.commands)
    }

    /// Sends a command and reads its whole answer.
    pub(crate) fn say(&mut self, command: &str) -> Answer {
        self.command(&[Piece::Text(command.to_owned())])
    }

    /// Sends a command of several pieces; a literal waits until the server asks for it.
    pub(crate) fn command(&mut self, pieces: &[Piece]) -> Answer {
        let tag = self.tag();
        let mut answer = Answer::default();
        let mut line = format!("{tag} ").into_bytes();
        for piece in pieces {
            match piece {
                Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Literal(octets) => {
                    line.extend(format!("{{{}}}\r\n", octets.len()).into_bytes());
                    self.send(&line);
                    if self.read_to(&tag, &mut answer, true) {
                        return answer;
                    }
                    line.clone_from(octets);
                }
            }
        }
        line.extend_from_slice(b"\r\n");
        self.send(&line);
        self.read_to(&tag, &mut answer, false);
        answer
    }

    /// Reads to the tagged response, or to a continuation when one is expected. Whether the command
    /// is answered.
    pub(crate) fn read_to(&mut self, tag: &str, answer: &mut Answer, continued: bool) -> bool {
        loop {
            let octets = self.octets();
            answer.raw.extend_from_slice(&octets);
            match response(&octets) {
                Response::Continuation if continued => return false,
                Response::Status { tag: Some(other), condition, code } => {
                    assert_eq!(other, tag, "{}", self.transcript());
                    answer.condition = condition;
                    answer.code = code;
                    return true;
                }
                untagged => answer.untagged.push(untagged),
            }
        }
    }
}
