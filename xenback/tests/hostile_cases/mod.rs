// SPDX-License-Identifier: MIT OR Apache-2.0
//! The catalogue. Each case begins with a guest that is connected and has reported.

mod grants;
mod lifecycle;
mod requests;
mod ring;
mod xenstore;

use crate::Case;
use crate::common::{RawGuest, World, load, unload};
use vesper_ring::wire::{Answer, CommandId};
use vesper_xenback::action::CommandId as Id;

/// All cases.
pub static CASES: std::sync::LazyLock<Vec<Case>> = std::sync::LazyLock::new(|| {
    [ring::CASES, requests::CASES, grants::CASES, xenstore::CASES, lifecycle::CASES].concat()
});

/// A load of 20,000 bytes that the guest was told of.
fn offered_load(world: &mut World, guest: &mut RawGuest) -> CommandId {
    world.submit(1, load("probe", &[7; 20_000], ""));
    match guest.next_command(world) {
        Some(Answer::Load { command, .. }) => command,
        other => panic!("{other:?}"),
    }
}

/// An unload that the guest was told of.
fn offered_unload(world: &mut World, guest: &mut RawGuest) -> CommandId {
    world.submit(1, unload("probe"));
    match guest.next_command(world) {
        Some(Answer::Unload { command, .. }) => command,
        other => panic!("{other:?}"),
    }
}

/// The id after the last one that was issued in this run.
fn never_issued(world: &mut World, guest: &mut RawGuest) -> CommandId {
    let command = offered_load(world, guest);
    guest.result(world, command, -1, "");
    CommandId { seq: command.seq + 1, ..command }
}

/// A command that waits and was never sent.
fn waiting(world: &mut World) -> CommandId {
    let Id { run, seq } = world.submit(1, unload("probe"));
    CommandId { run, seq }
}
