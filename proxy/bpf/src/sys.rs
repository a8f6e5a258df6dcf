//! The bpf(2) calls that aya has no function for: batches, links by descriptor, pins; and two small questions to sockets.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use orlop_ebpf::Plain;

const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_MAP_DELETE_ELEM: i32 = 3;
const BPF_OBJ_PIN: i32 = 6;
const BPF_OBJ_GET: i32 = 7;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
const BPF_MAP_LOOKUP_BATCH: i32 = 24;
const BPF_MAP_UPDATE_BATCH: i32 = 26;
const BPF_MAP_DELETE_BATCH: i32 = 27;
const BPF_LINK_CREATE: i32 = 28;
const BPF_LINK_UPDATE: i32 = 29;

/// `union bpf_attr` of the element commands.
#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` of the batch commands.
#[repr(C)]
struct Batch {
    before: u64,
    after: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// `union bpf_attr` of pin and get.
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_LINK_CREATE` without extras.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    extra: [u64; 4],
}

/// `union bpf_attr` of `BPF_LINK_UPDATE`.
#[repr(C)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// # Safety
/// `T` is the layout that `command` reads, and every pointer in it is valid for what the command does with it.
unsafe fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: by the contract of this function.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn address<T>(value: *const T) -> u64 {
    value as usize as u64
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Sets one element.
pub fn update<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attributes = Element { map: raw(map), pad: 0, key: address(key), value: address(value), flags: 0 };
    // SAFETY: key and value are plain bytes of the sizes the map was checked to have, alive over the call.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// Reads one element.
pub fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::uninit();
    let mut attributes =
        Element { map: raw(map), pad: 0, key: address(key), value: address(value.as_mut_ptr()), flags: 0 };
    // SAFETY: as for update; the kernel writes size_of::<V>() bytes.
    match unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes) } {
        // SAFETY: the kernel filled it, and V accepts any bytes.
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sum over all CPUs of one element of a pinned per-CPU array of numbers.
pub fn sum_of_cpus(pin: &Path, index: u32) -> io::Result<u64> {
    let map = open_pin(pin)?;
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = possible.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<usize>().ok());
    let mut values = vec![0_u64; last.map_or(1, |last| last + 1)];
    let mut attributes =
        Element { map: raw(map.as_fd()), pad: 0, key: address(&index), value: address(values.as_mut_ptr()), flags: 0 };
    // SAFETY: the kernel writes a number for each possible CPU, as many as `values` has room for.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes) }?;
    Ok(values.iter().sum())
}

/// Removes one element; whether it was there.
pub fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    let mut attributes = Element { map: raw(map), pad: 0, key: address(key), value: 0, flags: 0 };
    // SAFETY: as for update.
    match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attributes) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets many elements in one call.
pub fn update_batch<K: Plain, V: Plain>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    assert_eq!(keys.len(), values.len());
    let mut attributes = batch(map, keys.len());
    (attributes.keys, attributes.values) = (address(keys.as_ptr()), address(values.as_ptr()));
    // SAFETY: both slices have count elements of the map's sizes and outlive the call.
    unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attributes) }.map(drop)
}

/// Removes elements in one call until one is missing; how many it removed.
pub fn delete_batch<K: Plain>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<usize> {
    let mut attributes = batch(map, keys.len());
    attributes.keys = address(keys.as_ptr());
    // SAFETY: as for update_batch.
    match unsafe { bpf(BPF_MAP_DELETE_BATCH, &mut attributes) } {
        Ok(_) => Ok(keys.len()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(attributes.count as usize),
        Err(error) => Err(error),
    }
}

/// Every element of a map that is wanted, in no order; what changes meanwhile may be missing.
pub fn dump<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    mut wanted: impl FnMut(&K, &V) -> bool,
) -> io::Result<Vec<(K, V)>> {
    const CHUNK: usize = 8192;
    let mut keys = Vec::<K>::with_capacity(CHUNK);
    let mut values = Vec::<V>::with_capacity(CHUNK);
    // A hash map's cursor is four bytes, others' is a key.
    let mut cursor = vec![0_u64; size_of::<K>().div_ceil(8).max(1)];
    let mut next = cursor.clone();
    let mut first = true;
    let mut all = Vec::new();
    loop {
        let mut attributes = batch(map, CHUNK);
        attributes.before = if first { 0 } else { address(cursor.as_ptr()) };
        attributes.after = address(next.as_mut_ptr());
        (attributes.keys, attributes.values) = (address(keys.as_mut_ptr()), address(values.as_mut_ptr()));
        // SAFETY: both vectors have room for count elements, the cursors for a key.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes) };
        let end = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let count = (attributes.count as usize).min(CHUNK);
        // SAFETY: the kernel wrote count elements, and K and V accept any bytes.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        let elements = keys.iter().copied().zip(values.iter().copied());
        all.extend(elements.filter(|(key, value)| wanted(key, value)));
        if end {
            return Ok(all);
        }
        first = false;
        std::mem::swap(&mut cursor, &mut next);
    }
}

fn batch(map: BorrowedFd<'_>, count: usize) -> Batch {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Batch { before: 0, after: 0, keys: 0, values: 0, count, map: raw(map), element_flags: 0, flags: 0 }
}

/// A value out of the bytes that the kernel tells it as.
pub fn value<V: Plain>(bytes: &[u8]) -> Option<V> {
    let bytes = bytes.get(..size_of::<V>())?;
    // SAFETY: as many bytes as V has, and it accepts any.
    Some(unsafe { bytes.as_ptr().cast::<V>().read_unaligned() })
}

/// Pins a map, program or link.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object { path: address(path.as_ptr()), fd: raw(fd), flags: 0 };
    // SAFETY: the path is terminated and outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attributes) }.map(drop)
}

/// Opens what is pinned.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object { path: address(path.as_ptr()), fd: 0, flags: 0 };
    // SAFETY: as for pin.
    unsafe { bpf(BPF_OBJ_GET, &mut attributes).map(|fd| owned(fd)) }
}

/// `BPF_F_BEFORE`: of TCX, before every program that is there.
pub const FIRST: u32 = 1 << 3;

/// `XDP_FLAGS_DRV_MODE`: by the driver or not at all.
pub const BY_DRIVER: u32 = 1 << 2;

/// Attaches a program to a cgroup (a descriptor) or device (an index).
pub fn link_create(program: BorrowedFd<'_>, target: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate { program: raw(program), target, attach_type, flags, extra: [0; 4] };
    // SAFETY: no pointers.
    unsafe { bpf(BPF_LINK_CREATE, &mut attributes).map(|fd| owned(fd)) }
}

/// Replaces the program of a link. `ENOLINK`: what it was attached to is gone.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkUpdate { link: raw(link), program: raw(program), flags: 0, old_program: 0 };
    // SAFETY: no pointers.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attributes) }.map(drop)
}

/// The head of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ProgramInfo {
    kind: u32,
    /// The kernel's number of it.
    pub id: u32,
    /// A hash of its instructions.
    pub tag: [u8; 8],
}

/// The head of `struct bpf_link_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkInfo {
    /// `BPF_LINK_TYPE_*`.
    pub kind: u32,
    id: u32,
    /// The number of its program.
    pub program: u32,
    pad: u32,
    /// A cgroup's identifier, or of a device the index; zero when that is gone.
    pub target: [u32; 2],
}

impl LinkInfo {
    /// Whether it is attached to a certain device, or, of another kind, to anything.
    pub fn is_attached(&self, device: u32) -> bool {
        const XDP: u32 = 6;
        const TCX: u32 = 11;
        if [XDP, TCX].contains(&self.kind) { self.target[0] == device } else { self.target != [0, 0] }
    }
}

/// About a program.
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    // SAFETY: plain integers, laid out as the kernel's.
    unsafe { info(program) }
}

/// About a link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // SAFETY: plain integers, laid out as the kernel's.
    unsafe { info(link) }
}

/// # Safety
/// `T` accepts any bytes and is the head of the info struct for what `fd` is.
unsafe fn info<T: Default>(fd: BorrowedFd<'_>) -> io::Result<T> {
    /// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
    #[repr(C)]
    struct Query {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = T::default();
    let mut query = Query { fd: raw(fd), length: size_of::<T>() as u32, info: address(std::ptr::from_mut(&mut info)) };
    // SAFETY: the kernel writes at most `length` bytes of info, which outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut query) }?;
    Ok(info)
}

/// The clock of the programs: nanoseconds of `CLOCK_MONOTONIC_COARSE`.
pub fn now() -> u64 {
    clock(libc::CLOCK_MONOTONIC_COARSE)
}

/// The clock of talks: nanoseconds of `CLOCK_MONOTONIC`.
pub fn exact_now() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

fn clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the struct, which outlives the call.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// The cookie of the calling thread's network namespace.
pub fn netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut cookie = 0_u64;
    let mut length = 8;
    // SAFETY: cookie and length are valid for the call, which writes at most `length` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// # Safety
/// `fd` was just returned by a call that creates a descriptor.
unsafe fn owned(fd: i64) -> OwnedFd {
    // SAFETY: by the contract; descriptors fit in an i32.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}
