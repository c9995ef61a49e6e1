// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of a Unix socket and the descriptors beside them.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::closer::{Closer, Foreign};

/// Most descriptors of one message that the kernel passes (`SCM_MAX_FD`, `include/net/scm.h`). There is room for all of them:
/// what finds no room is closed by the kernel within recvmsg(2), which may block as any close may.
const DESCRIPTORS: usize = 253;

/// What one message brought.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: usize,
    pub(crate) descriptors: Vec<Foreign<OwnedFd>>,
    /// More descriptors were passed than arrived (`MSG_CTRUNC`), for example because too many files are open.
    pub(crate) truncated: bool,
}

/// Receives what is there, without waiting.
///
/// # Errors
/// The kernel's; `WouldBlock` when nothing is there.
pub(crate) fn receive(socket: &impl AsFd, chunk: &mut [u8], closer: &Closer) -> io::Result<Message> {
    // SAFETY: the function only computes with its argument.
    let space = unsafe { libc::CMSG_SPACE((DESCRIPTORS * mem::size_of::<RawFd>()) as u32) } as usize;
    // Of u64, which are aligned as a cmsghdr wants.
    receive_into(socket, chunk, &mut vec![0; space.div_ceil(mem::size_of::<u64>())], closer)
}

fn receive_into(
    socket: &impl AsFd,
    chunk: &mut [u8],
    control: &mut [u64],
    closer: &Closer,
) -> io::Result<Message> {
    let mut part = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() };
    // SAFETY: all fields of a msghdr may be zero: no address, no parts, no control data.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(control) as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the header names two buffers that are valid for writes of their lengths and live through the call.
    let bytes = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut header, flags) };
    let Ok(bytes) = usize::try_from(bytes) else { return Err(io::Error::last_os_error()) };

    let mut descriptors = Vec::new();
    // By hand, since nix gives nothing out of truncated control data, and what did arrive has to be closed.
    // SAFETY: the kernel has set the length to that of the control data which it wrote into the buffer.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give only headers that are whole within the buffer, which is aligned for them.
        let control = unsafe { next.read() };
        if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: the function only computes with its argument.
            let start = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (control.cmsg_len as usize).saturating_sub(start) / mem::size_of::<RawFd>();
            // SAFETY: the data follows its header, which is within the buffer.
            let data = unsafe { libc::CMSG_DATA(next) }.cast::<RawFd>();
            for index in 0..count {
                // SAFETY: cmsg_len, which the kernel wrote, counts the descriptors that are in the buffer.
                let descriptor = unsafe { data.add(index).read_unaligned() };
                // SAFETY: the kernel has just made this descriptor for this process; nobody else owns it.
                let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
                descriptors.push(Foreign::new(descriptor, closer));
            }
        }
        // SAFETY: `next` is a header of this message.
        next = unsafe { libc::CMSG_NXTHDR(&header, next) };
    }
    Ok(Message { bytes, descriptors, truncated: header.msg_flags & libc::MSG_CTRUNC != 0 })
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;

    /// Sends one end of a pair so many times beside one byte, and returns the other end: it reads an end of file as soon as no
    /// copy of the first is open.
    fn pass(through: &UnixStream, times: usize) -> UnixStream {
        let (passed, other) = UnixStream::pair().unwrap();
        let descriptors = vec![passed.as_raw_fd(); times];
        let beside = [ControlMessage::ScmRights(&descriptors)];
        let parts = [IoSlice::new(b"x")];
        sendmsg::<()>(through.as_raw_fd(), &parts, &beside, MsgFlags::empty(), None).unwrap();
        // So that a test ends that fails.
        other.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        other
    }

    #[test]
    fn as_many_as_the_kernel_passes_arrive() {
        let closer = Closer::start().unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        let mut chunk = [0; 16];
        let nothing = receive(&here, &mut chunk, &closer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let mut other = pass(&there, DESCRIPTORS);
        let message = receive(&here, &mut chunk, &closer).unwrap();
        assert_eq!((message.bytes, message.descriptors.len(), message.truncated), (1, DESCRIPTORS, false));
        drop(message);
        assert_eq!(other.read(&mut chunk).unwrap(), 0, "all of them are closed");
    }

    #[test]
    fn what_arrives_of_too_many_is_closed_too() {
        let closer = Closer::start().unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        let mut other = pass(&there, 10);
        let mut chunk = [0; 16];
        // Room for a header and two descriptors.
        let message = receive_into(&here, &mut chunk, &mut [0; 3], &closer).unwrap();
        assert_eq!((message.bytes, message.descriptors.len(), message.truncated), (1, 2, true));
        drop(message);
        assert_eq!(other.read(&mut chunk).unwrap(), 0, "all of them are closed");
    }
}
