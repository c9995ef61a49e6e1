// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! A frontend on a desk: its core, a ring page in this process, a kernel that only notes what it is told, and the
//! backend's end of the ring in the hands of the test.
#![allow(dead_code)] // each test program uses its part

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::rc::Rc;

use vesper_ring::BackRing;
use vesper_ring::wire::loader::{Loaded, Request, Response};
use vesper_ring::wire::{Answer, Asked, CommandId, NAME_BYTES, Name, PAGE_SIZE};
use vesper_xenfront::modules::Modules;
use vesper_xenfront::traits::Log;
use vesper_xenfront::{Errno, Fault, Frontend, Kernel, Pages, Progress};

/// What the fake kernel was told, and what it says.
#[derive(Debug, Default)]
pub struct World {
    pub kicks: u32,
    /// A backend that answers before the kick returns: an UNLOAD to every DUMMY, CANCELLED to its PREPARED.
    pub at_once: Option<BackRing<Request, Response>>,
    /// Pages of the open window.
    pub window: Option<u32>,
    /// What the backend put into it.
    pub filled: Vec<u8>,
    pub windows_opened: u32,
    pub text: Vec<u8>,
    /// Size and content of the image that is on its way.
    pub image: Option<(u64, Vec<u8>)>,
    /// Image or unload that the loader thread has.
    pub running: Option<(String, Option<Vec<u8>>)>,
    pub modules: BTreeSet<String>,
    pub log: String,
    /// Errors that the next calls give, positive errno: window, image, start, check, append.
    pub no_window: Option<i32>,
    pub no_image: Option<i32>,
    pub no_start: Option<i32>,
    pub no_check: Option<i32>,
    pub no_append: Option<i32>,
}

#[derive(Clone, Debug)]
pub struct Handle(pub Rc<RefCell<World>>);

fn fails(error: Option<i32>) -> Result<(), Errno> {
    error.and_then(|number| Errno::from_status(-number)).map_or(Ok(()), Err)
}

impl Pages for Handle {
    fn kick(&mut self) {
        let mut world = self.0.borrow_mut();
        world.kicks += 1;
        let seq = u64::from(world.kicks);
        let Some(back) = &mut world.at_once else { return };
        while let Some(request) = back.take().unwrap() {
            let answer = match request.check().unwrap() {
                Asked::Prepared { command, .. } => Answer::Cancelled { command },
                _ => unload(seq, "m"),
            };
            back.push(&answer.response(request.id)).unwrap();
            let _ = back.publish();
            back.final_check().unwrap();
        }
    }
    fn window_open(&mut self, pages: u32) -> Result<u32, Errno> {
        let mut world = self.0.borrow_mut();
        fails(world.no_window)?;
        assert!((1..=256).contains(&pages), "a window of {pages} pages");
        assert!(world.window.is_none(), "a second window");
        world.windows_opened += 1;
        world.window = Some(pages);
        Ok(77)
    }
    fn window_append(&mut self, bytes: u32) -> Result<(), Errno> {
        let mut world = self.0.borrow_mut();
        fails(world.no_append)?;
        let pages = world.window.expect("append without a window");
        assert!(bytes as usize <= pages as usize * PAGE_SIZE, "{bytes} bytes of {pages} pages");
        let mut part = world.filled.clone();
        part.resize(bytes as usize, 0);
        let (total, image) = world.image.as_mut().expect("append without an image");
        image.extend_from_slice(&part);
        assert!(image.len() as u64 <= *total, "more than was announced");
        Ok(())
    }
    fn window_close(&mut self) {
        self.0.borrow_mut().window = None;
    }
    fn text(&mut self, bytes: &[u8]) -> Result<u32, Errno> {
        assert!(bytes.len() <= PAGE_SIZE);
        self.0.borrow_mut().text = bytes.to_vec();
        Ok(78)
    }
}

/// The log as a reference outlives the borrow of the world.
#[derive(Debug)]
pub struct FakeKernel(Handle, String);

impl Kernel for FakeKernel {
    fn image_begin(&mut self, image_bytes: u64, args_bytes: u32) -> Result<(), Errno> {
        let mut world = self.0.0.borrow_mut();
        fails(world.no_image)?;
        assert!(world.image.is_none(), "a second image");
        world.image = Some((image_bytes + u64::from(args_bytes), Vec::new()));
        Ok(())
    }
    fn image_drop(&mut self) {
        self.0.0.borrow_mut().image = None;
    }
    fn load_start(&mut self, name: &Name) -> Result<(), Errno> {
        let mut world = self.0.0.borrow_mut();
        assert!(world.window.is_none(), "the host can still write while the image is read");
        fails(world.no_start)?;
        assert!(world.running.is_none(), "the loader thread has work");
        let (total, image) = world.image.take().expect("a load without an image");
        assert_eq!(image.len() as u64, total, "an incomplete image");
        world.running = Some((name.to_string(), Some(image)));
        Ok(())
    }
    fn unload_start(&mut self, name: &Name) -> Result<(), Errno> {
        let mut world = self.0.0.borrow_mut();
        fails(world.no_start)?;
        assert!(world.running.is_none(), "the loader thread has work");
        world.running = Some((name.to_string(), None));
        Ok(())
    }
    fn unload_check(&mut self, _: &Name) -> Result<(), Errno> {
        fails(self.0.0.borrow().no_check)
    }
    fn present(&mut self, name: &Name) -> bool {
        self.0.0.borrow().modules.contains(name.as_str())
    }
    fn log(&mut self) -> Log<'_> {
        self.1.clone_from(&self.0.0.borrow().log);
        Log { text: self.1.as_bytes(), truncated: self.1.len() > 4000 }
    }
}

/// A page of its own.
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

/// The whole arrangement.
pub struct Desk {
    pub front: Frontend<'static, Handle, FakeKernel>,
    pub back: BackRing<Request, Response>,
    pub world: Rc<RefCell<World>>,
    page: NonNull<u8>,
    /// Id of the question that the backend took last.
    pub open_id: u32,
}

pub const RUN: u64 = 0x1234_5678_9abc_def0;

pub fn command(seq: u64) -> CommandId {
    CommandId { run: RUN, seq }
}

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

pub fn load(seq: u64, module: &str, image_bytes: u64, args_bytes: u32) -> Answer {
    Answer::Load { command: command(seq), name: name(module), image_bytes, args_bytes }
}

pub fn unload(seq: u64, module: &str) -> Answer {
    Answer::Unload { command: command(seq), name: name(module) }
}

impl Desk {
    /// With room for that many modules, attached and started: the first REPORT is on the ring.
    pub fn with_table(entries: usize) -> Self {
        let world = Rc::new(RefCell::new(World::default()));
        let handle = Handle(Rc::clone(&world));
        let table =
            Box::leak(vec![Loaded { run: 0, seq: 0, name: [0; NAME_BYTES] }; entries].into_boxed_slice());
        let kernel = FakeKernel(handle.clone(), String::new());
        let mut front = Frontend::new(handle, kernel, Modules::new(table));
        // Leaked: both ends hold pointers to it for as long as a test may use them.
        let page = NonNull::from(Box::leak(Box::new(Page([0; PAGE_SIZE])))).cast();
        // SAFETY: the page is never freed.
        unsafe { front.attach(page, PAGE_SIZE) }.unwrap();
        front.start().unwrap();
        // SAFETY: as above.
        let back = unsafe { BackRing::attach(page, PAGE_SIZE) }.unwrap();
        Self { front, back, world, page, open_id: 0 }
    }

    pub fn new() -> Self {
        Self::with_table(128)
    }

    /// Attached, started, and the report of no modules answered: the first DUMMY is parked.
    pub fn parked() -> Self {
        let mut desk = Self::new();
        assert!(matches!(desk.asked(), Asked::Report(_)));
        desk.answer(&Answer::Done).unwrap();
        assert_eq!(desk.asked(), Asked::Dummy(None));
        desk
    }

    /// The connection ends and a new one begins, with the same page.
    pub fn reconnect(&mut self) {
        self.front.detach();
        // SAFETY: the page is never freed; the old back end is not used any more.
        unsafe {
            self.page.as_ptr().write_bytes(0, PAGE_SIZE);
            self.front.attach(self.page, PAGE_SIZE).unwrap();
            self.front.start().unwrap();
            self.back = BackRing::attach(self.page, PAGE_SIZE).unwrap();
        }
    }

    /// Another backend that takes up the ring where it is.
    ///
    /// # Safety
    ///
    /// `back` is not used any more.
    pub unsafe fn second_back(&self) -> BackRing<Request, Response> {
        // SAFETY: the page is never freed; the caller's promise.
        unsafe { BackRing::attach(self.page, PAGE_SIZE) }.unwrap()
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

    /// Puts a response onto the ring, whatever it is, and has the frontend look.
    pub fn respond(&mut self, response: &Response) -> Result<Progress, Fault> {
        self.back.push(response).unwrap();
        let _ = self.back.publish();
        self.front.run()
    }

    pub fn answer(&mut self, answer: &Answer) -> Result<Progress, Fault> {
        self.respond(&answer.response(self.open_id))
    }

    /// Writes an index of the shared page: 0 req_prod, 1 req_event, 2 rsp_prod, 3 rsp_event.
    pub fn set_index(&self, index: usize, value: u32) {
        assert!(index < 4);
        // SAFETY: within the page, aligned; this is what a hostile host does.
        unsafe { self.page.as_ptr().cast::<u32>().add(index).write_volatile(value) }
    }

    /// Serves FETCHes from `data` until the load starts; says how many there were.
    pub fn serve(&mut self, data: &[u8]) -> u32 {
        let mut fetches = 0;
        while let Some(Asked::Fetch(fetch)) = self.try_asked() {
            let from = fetch.offset as usize;
            self.world.borrow_mut().filled = data[from..from + fetch.bytes as usize].to_vec();
            self.answer(&Answer::Filled { command: fetch.command, status: 0 }).unwrap();
            fetches += 1;
        }
        fetches
    }

    /// The loader thread ends with that status; a module that was loaded is in then.
    pub fn finish(&mut self, status: i32) -> Result<(), Fault> {
        let work = self.world.borrow_mut().running.take();
        if let (Some((name, image)), 0) = (work, status) {
            let mut world = self.world.borrow_mut();
            if image.is_some() {
                world.modules.insert(name)
            } else {
                world.modules.remove(&name)
            };
        }
        self.front.finished(status, 1234)
    }

    /// A whole load; the frontend is parked before and after.
    pub fn load(&mut self, seq: u64, module: &str) {
        self.answer(&load(seq, module, 5, 3)).unwrap();
        assert_eq!(self.serve(b"imageabc"), 1);
        self.finish(0).unwrap();
        match self.asked() {
            Asked::Dummy(Some(result)) => assert_eq!((result.command, result.status), (command(seq), 0)),
            other => panic!("{other:?}"),
        }
    }
}
