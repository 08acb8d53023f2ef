//! `ResourceWarning` for what was not closed.

use std::ffi::CString;
use std::path::Path;
use std::ptr;

use pyo3::exceptions::PyResourceWarning;
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, ffi};

/// Warns that the `class` on mailbox `path` is freed without having been closed.
#[cold]
pub fn warn(class: &str, path: &Path) {
    // At the end of the process there is no one left to tell.
    _ = Python::try_attach(|py| {
        let message = CString::new(format!("unclosed shm_mailbox.{class} of {}", path.display())).unwrap_or_default();
        let (mut class, mut value, mut traceback) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: attached. An object may be freed while an exception is on its way: it is taken aside, as Python's
        // destructors do, and put back whatever the warning came to.
        unsafe { ffi::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut traceback) };
        if let Err(error) = PyErr::warn(py, PyResourceWarning::type_object(py).as_any(), &message, 1) {
            error.write_unraisable(py, None);
        }
        // SAFETY: as above; the three references go back to where they came from.
        unsafe { ffi::PyErr_Restore(class, value, traceback) };
    });
}
