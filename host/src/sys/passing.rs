//! Passing an open descriptor to another process, with a few bytes about it.
//!
//! Owns one message: a datagram that carries exactly one descriptor. Knows nothing of what the
//! bytes mean. Invariant: a received descriptor is close-on-exec from its first moment on.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};

/// Room for one descriptor in a message.
const SPACE: usize = rustix::cmsg_space!(ScmRights(1));

/// What came with one datagram.
#[derive(Debug)]
pub struct Received {
    /// Units: bytes that were written into the buffer.
    pub len: usize,
    /// The datagram was longer than the buffer.
    pub truncated: bool,
    /// The descriptor, if one came. More than one are closed by the kernel.
    pub descriptor: Option<OwnedFd>,
}

/// Sends `parts` as one datagram with a copy of `descriptor` over a connected Unix socket. Never
/// waits.
///
/// # Errors
/// `WouldBlock` when the socket is full; `EMSGSIZE` when it never would take as much; the system's
/// own otherwise.
pub fn send(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    descriptor: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the room is for one descriptor");
    // The flag and not the mode, which all copies of the socket share.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(&socket, parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            done => return done.map(|_| ()),
        }
    }
}

/// Takes one datagram into `buf`. Never waits. `None`: the other end is closed.
///
/// # Errors
/// `WouldBlock` when nothing is there; the system's own otherwise.
pub fn receive(socket: impl AsFd, buf: &mut [u8]) -> io::Result<Option<Received>> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buf)], &mut control, flags) {
            Err(Errno::INTR) => {}
            done => break done?,
        }
    };
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptors.for_each(|it| descriptor = Some(it));
        }
    }
    if got.bytes == 0 && descriptor.is_none() {
        return Ok(None);
    }
    let truncated = got.flags.contains(ReturnFlags::TRUNC);
    Ok(Some(Received { len: got.bytes, truncated, descriptor }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn bytes_and_descriptor_arrive_together() {
        let (here, there) = pair();
        let (mut reader, writer) = io::pipe().unwrap();
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b"c")];
        send(&here, &parts, writer.as_fd()).unwrap();
        drop(writer);
        let mut buf = [0; 16];
        let received = receive(&there, &mut buf).unwrap().unwrap();
        assert_eq!((&buf[..received.len], received.truncated), (&b"abc"[..], false));
        let mut writer = std::fs::File::from(received.descriptor.unwrap());
        let flags = rustix::io::fcntl_getfd(&writer).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn nothing_there_the_end_and_too_much_are_told_apart() {
        let (here, there) = pair();
        let mut buf = [0; 2];
        let nothing = receive(&there, &mut buf).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        send(&here, &[IoSlice::new(b"long")], there.as_fd()).unwrap();
        assert!(receive(&there, &mut buf).unwrap().unwrap().truncated);
        let huge = vec![0; 64 << 20];
        let refused = send(&here, &[IoSlice::new(&huge)], there.as_fd()).unwrap_err();
        assert_eq!(refused, Errno::MSGSIZE);
        drop(here);
        assert!(receive(&there, &mut buf).unwrap().is_none());
    }
}
