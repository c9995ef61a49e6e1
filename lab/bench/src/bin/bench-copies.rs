// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is copied of a guest's records on the way to a reader: a loopback guest writes, the real backend maps its pages, and
//! a reader of the mirror takes everything in each way that there is. Prints `@copies WAY BYTES COPIED` for each: what was
//! read so, and what the mirror copied into this process's memory for it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vesper_grant::DomId;
use vesper_grant::loopback::Machine;
use vesper_relay_mirror::{Next, Outlet, Piece, Reader, Start};
use vesper_xenback::{Backend, Limits};
use vesper_xenfront::loopback::{ChannelSpec, FakeKernel, LoopFrontend, RelayChannel};
use vesper_xenstore::{MemoryStore, Perm, Store, Tx};

const DOM: u16 = 1;
const RECORD: [u8; 64] = [0x5a; 64];
/// Records of each way: 16 MiB.
const RECORDS: usize = 1 << 18;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let (machine, store) = (Machine::new(), Arc::new(MemoryStore::new()?));
    let mut backend = Backend::new(Arc::new(machine.clone()), store.clone(), Limits::default())?;
    let guest = machine.add_guest(DomId(DOM), [DOM as u8; 16]);
    let home = format!("/local/domain/{DOM}");
    store.mkdir(Tx::NONE, &home)?;
    store.set_perms(Tx::NONE, &home, &[Perm::none(0), Perm::read(DOM)])?;
    store.introduce(DOM);
    let frontend = LoopFrontend::start(guest, store.as_domain(DOM)?, FakeKernel::new());
    let spec = ChannelSpec::new("probe").sizes(64 << 10, 8).cpus(&[0]);
    let channel = frontend.relay().export(&spec).map_err(|errno| anyhow::anyhow!("export: {errno:?}"))?;
    let end = Instant::now() + PATIENCE;
    backend.run(Instant::now());
    backend.attach(DomId(DOM))?;
    let export = loop {
        backend.run(Instant::now());
        if let Some(export) = backend.channel(DomId(DOM), "probe") {
            break export;
        }
        ensure!(Instant::now() < end, "the channel does not come");
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut reader = export.channel.reader(Start::Now);

    way("in-place", &channel, &mut reader, |piece| {
        let sum = piece.inspect(|raw| {
            (0..raw.len()).filter_map(|at| raw.bytes_at::<1>(at)).map(|[byte]| u64::from(byte)).sum::<u64>()
        });
        ensure!(sum? == u64::from(RECORD[0]) * piece.len() as u64, "wrong bytes");
        Ok(piece.len())
    })?;
    let file = File::from(nix::sys::memfd::memfd_create(c"out", nix::sys::memfd::MFdFlags::empty())?);
    let outlet = Outlet::new(file.as_fd())?;
    way("file", &channel, &mut reader, |piece| Ok(piece.write_to(&outlet)?))?;
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let client = std::thread::spawn(move || std::io::copy(&mut { theirs }, &mut std::io::sink()));
    let outlet = Outlet::new(ours.as_fd())?;
    way("socket", &channel, &mut reader, |piece| match piece.write_to(&outlet) {
        Err(vesper_relay_mirror::WriteError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Ok(0)
        }
        written => Ok(written?),
    })?;
    drop(ours);
    client.join().ok().context("the client panicked")??;
    let mut room = vec![0; 64 << 10];
    way("copy", &channel, &mut reader, |piece| Ok(piece.copy_to(&mut room)?))?;
    Ok(())
}

/// The guest writes, `take` takes of each piece as much as it says.
fn way(
    name: &str,
    guest: &RelayChannel,
    reader: &mut Reader,
    mut take: impl FnMut(&Piece) -> Result<usize>,
) -> Result<()> {
    let before = reader.channel().copied();
    let (mut read, mut written) = (0, 0);
    while read < RECORDS * RECORD.len() {
        while written < RECORDS && guest.write(0, &RECORD).is_ok() {
            written += 1;
        }
        guest.urgent(0);
        match reader.next(0) {
            Next::Data(piece) => {
                let took = take(&piece)?;
                reader.advance(&piece, took);
                read += took;
            }
            Next::Lost(lost) => ensure!(lost.bytes == 0, "lost: {lost:?}"),
            Next::Nothing => {}
            Next::End => anyhow::bail!("the channel ended"),
        }
    }
    println!("@copies {name} {read} {}", reader.channel().copied() - before);
    Ok(())
}
