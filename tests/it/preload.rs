//! A library in front of the kernel: what a test has no right to do to the kernel, it does there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::repository;

/// Makes a call fail in the command: `inotify_init1` or `inotify_add_watch`.
pub fn let_fail(command: &mut Command, call: &str) {
    preload(command).env("FAILING_CALL", call);
}

/// Makes the command believe that this is what is mounted.
pub fn let_mount(command: &mut Command, mounts: &Path) {
    preload(command).env("MOUNTINFO", mounts);
}

/// Makes the disk of a folder full for the command, while a file of the same name with `.full` exists.
pub fn let_fill(command: &mut Command, folder: &Path) {
    let folder = std::fs::canonicalize(folder).expect("a folder");
    preload(command).env("FULL_FOLDER", folder);
}

/// Lets no write of the command come to the disk while this file exists.
pub fn let_hang(command: &mut Command, sign: &Path) {
    preload(command).env("STUCK_DISK", sign);
}

fn preload(command: &mut Command) -> &mut Command {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let fresh = folder.join(format!("preload-{}.so", std::process::id()));
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&fresh).arg(repository("tests/it/preload.c")).arg("-ldl");
        assert!(compiler.status().expect("a C compiler, which SQLite needs as well").success());
        let library = folder.join("preload.so");
        std::fs::rename(fresh, &library).expect("it takes the place of an older one");
        library
    });
    command.env("LD_PRELOAD", library)
}
