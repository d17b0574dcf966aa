//! The wire by hand, from its description alone: frames over a Unix socket, without anything of `kaval::client`.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::PATIENCE;

/// Longest frame, by the contract.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Whatever a server may send.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Frame {
    pub req: Option<u64>,
    pub kaval: Option<u32>,
    pub ok: Option<Answer>,
    pub err: Option<Refusal>,
    pub ev: Option<String>,
    pub offset: Option<u64>,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub cols: Option<u16>,
    pub rows: Option<u16>,
    #[serde(with = "serde_bytes")]
    pub data: Option<Vec<u8>>,
    pub more: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub id: Option<u32>,
    pub name: Option<String>,
    pub answered: Option<u64>,
    pub floor: Option<u64>,
    pub end: Option<u64>,
    pub more: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub message: String,
}

impl Frame {
    /// The refusal that this frame is.
    pub fn refusal(self) -> Refusal {
        let shown = format!("{self:?}");
        self.err.unwrap_or_else(|| panic!("not a refusal: {shown}"))
    }
}

/// One connection.
pub struct Raw(UnixStream);

impl Raw {
    /// Connects and says nothing.
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Connects and says hello.
    pub fn hello(socket: &Path) -> Self {
        let mut raw = Self::connect(socket);
        raw.send(&json!({"kaval": 1, "client": "by-hand/0"}));
        let answer = raw.receive().expect("an answer to hello");
        assert_eq!(answer.kaval, Some(1), "{answer:?}");
        raw
    }

    pub fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Writes bytes as they are, to a server that may have hung up.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Sends a map.
    pub fn send(&mut self, map: &Value) {
        self.write(&frame(map));
    }

    /// The next frame; `None` when the server has hung up.
    pub fn receive(&mut self) -> Option<Frame> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let length = u32::from_be_bytes(length) as usize;
        assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some(rmp_serde::from_slice(&body).unwrap())
    }

    /// Sends a request and waits for what answers it.
    pub fn ask(&mut self, request: &Value) -> Frame {
        self.send(request);
        loop {
            let frame = self.receive().expect("an answer");
            if frame.ev.is_none() && frame.req == request["req"].as_u64() {
                return frame;
            }
        }
    }
}

/// A map as a frame.
pub fn frame(map: &Value) -> Vec<u8> {
    let body = rmp_serde::to_vec_named(map).unwrap();
    [&(body.len() as u32).to_be_bytes(), &body[..]].concat()
}
