// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Xen's ring macros, compiled when the test runs and called through `dlopen`.

use std::ffi::{CString, c_int, c_ulong, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use vesper_ring::wire::loader::{Request, Response};

use crate::common::Region;

/// `support/xen_ring.c`, loaded.
#[derive(Clone, Copy)]
pub struct Xen {
    library: usize,
}

/// The macros' verdict on the peer's index.
#[derive(Debug)]
pub struct IllBehaved;

pub struct XenFront(Xen, *mut c_void);
pub struct XenBack(Xen, *mut c_void);

impl Xen {
    pub fn load() -> Self {
        static LIBRARY: OnceLock<usize> = OnceLock::new();
        let library = *LIBRARY.get_or_init(|| {
            let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/xen_ring.c");
            let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("xen_ring-{}.so", std::process::id()));
            let status = Command::new("gcc")
                .args(["-std=gnu11", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-Wl,-z,defs", "-o"])
                .arg(&out)
                .arg(&source)
                .status()
                .expect("gcc runs (package gcc)");
            assert!(status.success(), "gcc compiles {} (package libxen-dev)", source.display());
            let path = CString::new(out.to_str().expect("a UTF-8 path")).expect("no zero byte");
            // SAFETY: a path closed by zero; the library has no constructors.
            let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            assert!(!handle.is_null(), "dlopen of {}", out.display());
            std::fs::remove_file(&out).expect("the library can be unlinked once it is loaded");
            handle as usize
        });
        Self { library }
    }

    /// # Safety
    ///
    /// `F` is the type of the C function of that name.
    unsafe fn function<F: Copy>(self, name: &std::ffi::CStr) -> F {
        // SAFETY: the handle is of `dlopen` and never closed.
        let address = unsafe { libc::dlsym(self.library as *mut c_void, name.as_ptr()) };
        assert!(!address.is_null(), "no function {name:?}");
        assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
        // SAFETY: a function pointer of that type, by the caller's promise.
        unsafe { std::mem::transmute_copy(&address) }
    }

    pub fn offset(self, which: u32) -> u32 {
        // SAFETY: `unsigned int xen_offset(unsigned int)`.
        unsafe { self.function::<unsafe extern "C" fn(u32) -> u32>(c"xen_offset")(which) }
    }

    pub fn entries(self, bytes: usize) -> u32 {
        // SAFETY: `unsigned int xen_entries(unsigned long)`.
        unsafe { self.function::<unsafe extern "C" fn(c_ulong) -> u32>(c"xen_entries")(bytes as c_ulong) }
    }

    /// A front end over the region, which must outlive it.
    pub fn front(self, region: &Region, start: u32) -> XenFront {
        type Make = unsafe extern "C" fn(*mut u8, c_ulong, u32) -> *mut c_void;
        // SAFETY: that is its type; the region has that many bytes.
        let ring = unsafe {
            self.function::<Make>(c"xen_front")(region.base().as_ptr(), region.bytes() as c_ulong, start)
        };
        XenFront(self, ring)
    }

    /// A back end over the region, which must outlive it.
    pub fn back(self, region: &Region) -> XenBack {
        type Make = unsafe extern "C" fn(*mut u8, c_ulong) -> *mut c_void;
        // SAFETY: that is its type; the region has that many bytes.
        let ring =
            unsafe { self.function::<Make>(c"xen_back")(region.base().as_ptr(), region.bytes() as c_ulong) };
        XenBack(self, ring)
    }

    fn ask(self, name: &std::ffi::CStr, ring: *mut c_void) -> c_int {
        // SAFETY: called with functions of one ring pointer that return int; the ring lives.
        unsafe { self.function::<unsafe extern "C" fn(*mut c_void) -> c_int>(name)(ring) }
    }

    fn take<T: Default>(self, name: &std::ffi::CStr, ring: *mut c_void) -> Result<Option<T>, IllBehaved> {
        let mut message = T::default();
        type Take = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
        // SAFETY: called with the take functions and a message of their type.
        match unsafe { self.function::<Take>(name)(ring, (&raw mut message).cast()) } {
            1 => Ok(Some(message)),
            0 => Ok(None),
            _ => Err(IllBehaved),
        }
    }

    fn push<T>(self, name: &std::ffi::CStr, ring: *mut c_void, message: &T) -> c_int {
        type Push = unsafe extern "C" fn(*mut c_void, *const c_void) -> c_int;
        // SAFETY: called with the push functions and a message of their type; of the one that returns nothing, the
        // value is not looked at.
        unsafe { self.function::<Push>(name)(ring, (&raw const *message).cast()) }
    }

    fn free(self, ring: *mut c_void) {
        // SAFETY: made by `xen_front` or `xen_back`, and given up here.
        unsafe { self.function::<unsafe extern "C" fn(*mut c_void)>(c"xen_free")(ring) };
    }
}

impl XenFront {
    pub fn push(&self, request: &Request) -> bool {
        self.0.push(c"xen_front_push", self.1, request) == 1
    }

    pub fn publish(&self) -> bool {
        self.0.ask(c"xen_front_publish", self.1) != 0
    }

    pub fn take(&self) -> Result<Option<Response>, IllBehaved> {
        self.0.take(c"xen_front_take", self.1)
    }

    pub fn check(&self) -> bool {
        self.0.ask(c"xen_front_check", self.1) != 0
    }

    pub fn free(&self) -> u32 {
        self.0.ask(c"xen_front_free", self.1) as u32
    }
}

impl XenBack {
    pub fn push(&self, response: &Response) {
        self.0.push(c"xen_back_push", self.1, response);
    }

    pub fn publish(&self) -> bool {
        self.0.ask(c"xen_back_publish", self.1) != 0
    }

    pub fn take(&self) -> Result<Option<Request>, IllBehaved> {
        self.0.take(c"xen_back_take", self.1)
    }

    pub fn check(&self) -> bool {
        self.0.ask(c"xen_back_check", self.1) != 0
    }
}

impl Drop for XenFront {
    fn drop(&mut self) {
        self.0.free(self.1);
    }
}

impl Drop for XenBack {
    fn drop(&mut self) {
        self.0.free(self.1);
    }
}
