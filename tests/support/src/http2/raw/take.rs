//! What a frame of the peer's changes, and what it is answered with.

use std::io;

use super::{INITIAL_WINDOW_SIZE, RawHttp2};
use crate::{
    client::Answer,
    http2::frame::{Frame, flag, kind},
    http2::raw::Goaway,
};

impl RawHttp2 {
    pub(super) fn take(&mut self, frame: &Frame) -> io::Result<()> {
        let (is_ack, ends) = (frame.flags & flag::ACK != 0, frame.flags & flag::END_STREAM != 0);
        match frame.kind {
            kind::SETTINGS if !is_ack => self.take_settings(&frame.payload)?,
            kind::PING if is_ack => self.pongs += 1,
            kind::PING => self.send(kind::PING, flag::ACK, 0, &frame.payload)?,
            kind::WINDOW_UPDATE => {
                let more = i64::from(frame.number());
                match self.streams.get_mut(&frame.stream) {
                    Some(stream) => stream.window += more,
                    None if frame.stream == 0 => self.window += more,
                    None => {}
                }
            }
            kind::GOAWAY => {
                let last = frame.number() & 0x7fff_ffff;
                let code = frame.payload.get(4..8).and_then(|it| it.try_into().ok());
                let code = code.map_or(0, u32::from_be_bytes);
                self.goaway = Some(Goaway { last, code });
            }
            kind::RST_STREAM => {
                if let Some(stream) = self.streams.get_mut(&frame.stream) {
                    stream.reset = Some(frame.number());
                }
            }
            kind::DATA => self.take_data(frame, ends)?,
            kind::HEADERS | kind::CONTINUATION => self.take_block(frame, ends)?,
            _ => {}
        }
        Ok(())
    }

    fn take_settings(&mut self, payload: &[u8]) -> io::Result<()> {
        for setting in payload.chunks_exact(6) {
            let name = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            if name == INITIAL_WINDOW_SIZE {
                let change = i64::from(value) - self.initial;
                self.initial += change;
                self.streams.values_mut().for_each(|stream| stream.window += change);
            }
        }
        self.send(kind::SETTINGS, flag::ACK, 0, b"")
    }

    fn take_data(&mut self, frame: &Frame, ends: bool) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&frame.stream) else { return Ok(()) };
        if let Some(answer) = &mut stream.answer {
            answer.body.extend(&frame.payload);
        }
        stream.ended |= ends;
        let length = u32::try_from(frame.payload.len()).unwrap_or(0);
        if self.grants && length > 0 {
            self.grant(0, length)?;
            if !ends {
                self.grant(frame.stream, length)?;
            }
        }
        Ok(())
    }

    fn take_block(&mut self, frame: &Frame, ends: bool) -> io::Result<()> {
        self.block.extend(&frame.payload);
        let ends = ends && frame.kind == kind::HEADERS;
        if let Some(stream) = self.streams.get_mut(&frame.stream) {
            stream.ended |= ends;
        }
        if frame.flags & flag::END_HEADERS == 0 {
            return Ok(());
        }
        let fields = self.table.decode(&std::mem::take(&mut self.block))?;
        let Some(stream) = self.streams.get_mut(&frame.stream) else { return Ok(()) };
        let Some((_, status)) = fields.iter().find(|(name, _)| name == ":status") else {
            stream.trailers = fields;
            return Ok(());
        };
        let status = status.parse().map_err(io::Error::other)?;
        if status < 200 {
            return Ok(());
        }
        let headers = fields.into_iter().filter(|(name, _)| !name.starts_with(':')).collect();
        stream.heads += 1;
        stream.answer = Some(Answer { status, headers, body: Vec::new() });
        Ok(())
    }
}
