// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! A listener on a desk: its core, a ring page in this process, a kernel that only notes what it is told and holds the core
//! to what must never be, and the backend's end of the ring in the hands of the test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::rc::Rc;

use vesper_ring::BackRing;
use vesper_ring::wire::PAGE_SIZE;
use vesper_ring::wire::listener::{Answer, Asked, Export, Request, Response};
use vesper_xenfront::listener::{Kernel, Listener, Offer, Pages};
use vesper_xenfront::{Errno, Fault, Progress};

/// What the kernel has in a slot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    pub number: u32,
    /// Its pages are granted in this connection.
    pub granted: bool,
    /// The host has it.
    pub shared: bool,
    /// There is more of it than the host was offered.
    pub more: bool,
    /// It is to be taken back.
    pub leaving: bool,
}

/// What the fake kernel was told, and what it says.
#[derive(Debug, Default)]
pub struct World {
    pub now: u64,
    pub kicks: u32,
    /// A backend that answers before the kick returns.
    pub at_once: Option<BackRing<Request, Response>>,
    pub slots: BTreeMap<u32, Slot>,
    /// What [`Kernel::answered`] and [`Kernel::ended`] said, in order; no status: ended.
    pub told: Vec<(u32, Option<i32>)>,
    /// Offers do not come about, positive errno.
    pub no_open: Option<i32>,
    /// Offers are spoilt by this before the core gets them.
    pub spoil: Option<fn(&mut Offer)>,
}

#[derive(Clone, Debug)]
pub struct Handle(pub Rc<RefCell<World>>);

impl Pages for Handle {
    fn kick(&mut self) {
        let mut world = self.0.borrow_mut();
        world.kicks += 1;
        let Some(back) = &mut world.at_once else { return };
        while let Some(request) = back.take().unwrap() {
            let answer = match request.check().unwrap() {
                Asked::Time { .. } => time_is(),
                _ => Answer::Done { status: 0 },
            };
            back.push(&answer.response(request.id)).unwrap();
            let _ = back.publish();
            back.final_check().unwrap();
        }
    }

    fn open(&mut self, slot: u32) -> Result<Offer, Errno> {
        let mut world = self.0.borrow_mut();
        let world = &mut *world;
        let export = world.slots.get_mut(&slot).expect("an offer of an empty slot");
        assert!(!export.leaving, "an offer of what is to be taken back");
        assert!(!export.granted || export.more, "offered twice in one connection");
        if let Some(e) = world.no_open.and_then(|number| Errno::from_status(-number)) {
            return Err(e);
        }
        let flags = u32::from(export.granted);
        (export.granted, export.more) = (true, false);
        let mut offer = Offer {
            export: export.number,
            gref: 100 + slot,
            directory: 200 + slot,
            grants: 300 + slot,
            flags,
        };
        if let Some(spoil) = world.spoil {
            spoil(&mut offer);
        }
        Ok(offer)
    }
}

impl Kernel for Handle {
    fn clock(&mut self) -> u64 {
        let mut world = self.0.borrow_mut();
        world.now += 1;
        world.now
    }

    fn answered(&mut self, slot: u32, status: i32) {
        let mut world = self.0.borrow_mut();
        let export = world.slots.get_mut(&slot).expect("an answer for an empty slot");
        if status == 0 {
            export.shared = true;
        } else if !export.shared {
            export.granted = false;
        }
        world.told.push((slot, Some(status)));
    }

    fn ended(&mut self, slot: u32) {
        let mut world = self.0.borrow_mut();
        let export = world.slots.remove(&slot).expect("an end of an empty slot");
        assert!(export.leaving, "an end that nobody asked for");
        world.told.push((slot, None));
    }
}

/// A page of its own.
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

/// The whole arrangement.
pub struct Desk {
    pub front: Listener<Handle, Handle>,
    pub back: BackRing<Request, Response>,
    pub world: Rc<RefCell<World>>,
    page: NonNull<u8>,
    /// Id of the question that the backend took last.
    pub open_id: u32,
    next_number: u32,
}

impl Desk {
    /// Attached and not started.
    pub fn attached() -> Self {
        let world = Rc::new(RefCell::new(World { now: 1000, ..World::default() }));
        let handle = Handle(Rc::clone(&world));
        let mut front = Listener::new(handle.clone(), handle);
        // Leaked: both ends hold pointers to it for as long as a test may use them.
        let page = NonNull::from(Box::leak(Box::new(Page([0; PAGE_SIZE])))).cast();
        // SAFETY: the page is never freed.
        unsafe { front.attach(page, PAGE_SIZE) }.unwrap();
        // SAFETY: as above.
        let back = unsafe { BackRing::attach(page, PAGE_SIZE) }.unwrap();
        Self { front, back, world, page, open_id: 0, next_number: 1 }
    }

    /// Started: the first TIME is on the ring.
    pub fn new() -> Self {
        let mut desk = Self::attached();
        desk.front.start().unwrap();
        desk
    }

    /// Started, and all that the core asks by itself is answered.
    pub fn idle() -> Self {
        let mut desk = Self::new();
        desk.settle();
        desk
    }

    /// As `idle`, with an export in slot 62: another one is announced without asking for the time first.
    pub fn busy() -> Self {
        let mut desk = Self::idle();
        desk.export(62);
        desk.settle();
        desk.told();
        desk
    }

    /// The host's and the guest's end of the connection begin anew, with the same page. Nothing is started.
    pub fn attach(&mut self) {
        self.front.detach();
        for export in self.world.borrow_mut().slots.values_mut() {
            assert!(!export.leaving, "the connection is gone, and it has not ended");
            (export.granted, export.shared, export.more) = (false, false, false);
        }
        // SAFETY: the page is never freed; the old back end is not used any more.
        unsafe {
            self.page.as_ptr().write_bytes(0, PAGE_SIZE);
            self.front.attach(self.page, PAGE_SIZE).unwrap();
            self.back = BackRing::attach(self.page, PAGE_SIZE).unwrap();
        }
    }

    pub fn reconnect(&mut self) {
        self.attach();
        self.front.start().unwrap();
    }

    /// From here on the host answers before the kick returns.
    pub fn answer_at_once(&mut self) {
        self.back.final_check().unwrap();
        // SAFETY: the page is never freed; the end of before is not used any more.
        self.world.borrow_mut().at_once = Some(unsafe { BackRing::attach(self.page, PAGE_SIZE) }.unwrap());
    }

    /// A new export in the slot: its number.
    pub fn export(&mut self, slot: u32) -> u32 {
        let number = self.next_number;
        self.next_number += 1;
        let new = Slot { number, ..Slot::default() };
        assert!(self.world.borrow_mut().slots.insert(slot, new).is_none(), "the slot is in use");
        let _ = self.front.export(slot);
        number
    }

    /// More of the export in the slot.
    pub fn more(&mut self, slot: u32) {
        self.world.borrow_mut().slots.get_mut(&slot).unwrap().more = true;
        let _ = self.front.export(slot);
    }

    pub fn unexport(&mut self, slot: u32) {
        let number = {
            let mut world = self.world.borrow_mut();
            let export = world.slots.get_mut(&slot).unwrap();
            export.leaving = true;
            export.number
        };
        let _ = self.front.unexport(slot, number);
    }

    /// The question that is open, as the backend sees it.
    pub fn try_asked(&mut self) -> Option<Asked> {
        let request = self.back.take().unwrap()?;
        self.open_id = request.id;
        Some(request.check().expect("the frontend keeps to the protocol"))
    }

    pub fn asked(&mut self) -> Asked {
        self.try_asked().expect("a question")
    }

    /// Puts a response onto the ring, whatever it is, and has the listener look.
    pub fn respond(&mut self, response: &Response) -> Result<Progress, Fault> {
        self.back.push(response).unwrap();
        let _ = self.back.publish();
        self.front.run()
    }

    pub fn answer(&mut self, answer: &Answer) -> Result<Progress, Fault> {
        self.respond(&answer.response(self.open_id))
    }

    pub fn done(&mut self, status: i32) {
        self.answer(&Answer::Done { status }).unwrap();
    }

    /// The next question, which is TIME, answered.
    pub fn time(&mut self) {
        assert!(matches!(self.asked(), Asked::Time { .. }));
        self.answer(&time_is()).unwrap();
    }

    /// Answers all that is asked with success; what it was, exchanges of TIME left out.
    pub fn settle(&mut self) -> Vec<Asked> {
        let mut seen = Vec::new();
        while let Some(asked) = self.try_asked() {
            match asked {
                Asked::Time { .. } => self.answer(&time_is()).unwrap(),
                other => {
                    seen.push(other);
                    self.answer(&Answer::Done { status: 0 }).unwrap()
                }
            };
        }
        seen
    }

    /// What the kernel was told since the last call.
    pub fn told(&mut self) -> Vec<(u32, Option<i32>)> {
        std::mem::take(&mut self.world.borrow_mut().told)
    }

    /// Writes an index of the shared page: 0 req_prod, 1 req_event, 2 rsp_prod, 3 rsp_event.
    pub fn set_index(&self, index: usize, value: u32) {
        assert!(index < 4);
        // SAFETY: within the page, aligned; this is what a hostile host does.
        unsafe { self.page.as_ptr().cast::<u32>().add(index).write_volatile(value) }
    }
}

pub fn time_is() -> Answer {
    Answer::TimeIs { got: 5_000_000, sent: 5_000_100 }
}

/// The EXPORT of a slot as [`Handle::open`] offers it.
pub fn export(slot: u32, number: u32, part: bool) -> Asked {
    Asked::Export(Export {
        export: number,
        gref: 100 + slot,
        directory: 200 + slot,
        grants: 300 + slot,
        part,
    })
}

pub fn unexport(number: u32) -> Asked {
    Asked::Unexport { export: number }
}
