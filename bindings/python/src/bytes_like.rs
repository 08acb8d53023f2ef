//! Bytes in and out of Python: `str`, `bytes` and the buffer protocol.

use std::ffi::c_int;
use std::{ptr, slice};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// How text that is not UTF-8 goes through: as in `os.fsencode`, and back.
const ERRORS: &std::ffi::CStr = c"surrogateescape";

/// Hands the bytes of a line to `work`: those of a `str` without one final newline, all of anything else.
#[inline]
pub fn with_line<R>(line: &Bound<'_, PyAny>, work: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    if let Ok(bytes) = line.cast::<PyBytes>() {
        return Ok(work(bytes.as_bytes()));
    }
    if let Ok(text) = line.cast::<PyString>() {
        return with_text(text, work);
    }
    let buffer = Buffer::of(line, ffi::PyBUF_SIMPLE)?;
    // SAFETY: no other reference to these bytes is made here. Python code does not run meanwhile, except, in
    // free-threaded Python, in other threads: that they do not write to it is the caller's part, as with every function
    // that takes a buffer, and said in the documentation.
    Ok(work(unsafe { slice::from_raw_parts(buffer.start(), buffer.len()) }))
}

fn with_text<R>(text: &Bound<'_, PyString>, work: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    let without_newline = |bytes: &[u8]| work(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    if let Ok(text) = text.to_str() {
        return Ok(without_newline(text.as_bytes()));
    }
    let encoded = text.call_method1("encode", ("utf-8", "surrogateescape"))?;
    Ok(without_newline(encoded.cast::<PyBytes>()?.as_bytes()))
}

/// A `bytes` of these.
#[inline]
pub fn to_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: Python copies `bytes`, whose length fits, as that of every slice; what it returns is a new reference, or
    // null with an exception set. `PyBytes::new` would panic where memory runs out.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t);
        Bound::from_owned_ptr_or_err(py, object)
    }
}

/// A `str` of these.
pub fn to_text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: as `to_bytes`.
    unsafe {
        let object = ffi::PyUnicode_DecodeUTF8(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t, ERRORS.as_ptr());
        Bound::from_owned_ptr_or_err(py, object)
    }
}

/// The memory of an object that offers it: contiguous, and kept where it is until this is dropped.
pub struct Buffer<'py> {
    view: ffi::Py_buffer,
    py: Python<'py>,
}

impl<'py> Buffer<'py> {
    /// The memory of `object`, to be read.
    fn of(object: &Bound<'py, PyAny>, flags: c_int) -> PyResult<Self> {
        let mut buffer = Self { view: ffi::Py_buffer::new(), py: object.py() };
        // SAFETY: Python fills the view in, or sets an exception and leaves its object null. Without further flags a
        // view is contiguous, in C order, of whole bytes (PEP 3118).
        let result = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut buffer.view, flags) };
        if result == 0 {
            return Ok(buffer);
        }
        Err(PyErr::fetch(object.py()))
    }

    /// The memory of `object`, to be written.
    pub fn writable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if object.is_instance_of::<PyBytes>() {
            return Err(PyTypeError::new_err("a buffer that can be written is needed, such as a bytearray, not bytes"));
        }
        Self::of(object, ffi::PyBUF_WRITABLE)
    }

    /// Attached, as for as long as this lives.
    pub fn py(&self) -> Python<'py> {
        self.py
    }

    fn start(&self) -> *const u8 {
        // Empty ones may have no address.
        if self.view.len == 0 { ptr::dangling() } else { self.view.buf.cast_const().cast() }
    }

    fn len(&self) -> usize {
        self.view.len as usize
    }

    /// Its bytes, of a writable one.
    ///
    /// # Safety
    ///
    /// The buffer came from [`writable`](Self::writable), and no Python code runs in this thread while the slice is
    /// used.
    pub unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: writable memory of this length, kept where it is by the view. Other threads that touch it meanwhile:
        // as in `with_line`.
        unsafe { slice::from_raw_parts_mut(self.start().cast_mut(), self.len()) }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: attached, as `py` proves; a view that was never filled in has no object, and nothing happens.
        unsafe { ffi::PyBuffer_Release(&raw mut self.view) };
    }
}
