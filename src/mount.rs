//! Whether a file is mounted on its own: then a new file of the same name is never seen.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where Linux tells what is mounted; elsewhere there is no such file, and nothing is known.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Whether the file itself is a mount point, as with `docker -v ./routes.yaml:…` and with `subPath` of Kubernetes.
pub fn is_mounted_alone(file: &Path) -> bool {
    let mounts = std::fs::read(MOUNTS).unwrap_or_default();
    file.canonicalize().is_ok_and(|file| points(&mounts).any(|point| point == file))
}

/// The mount points: the fifth field of each line.
fn points(mounts: &[u8]) -> impl Iterator<Item = PathBuf> {
    let lines = mounts.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| PathBuf::from(OsString::from_vec(unescaped(field))))
}

/// The kernel writes a space, a tab, a line end and a backslash as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..3).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let octal = digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
    u8::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| octal)?, 8).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn mount_points_are_the_fifth_field_with_its_escapes_undone() {
        for (line, expected) in [
            ("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw", Some(&b"/mnt2"[..])),
            ("1 2 0:3 / / rw - overlay overlay rw", Some(b"/")),
            (r"1 2 0:3 /a /my\040rules/routes.yaml rw - ext4 /dev/sda1 rw", Some(b"/my rules/routes.yaml")),
            (r"1 2 0:3 /a /tab\011line\012back\134slash\134040 rw", Some(b"/tab\tline\nback\\slash\\040")),
            (r"1 2 0:3 /a /odd\04 rw", Some(br"/odd\04")),
            (r"1 2 0:3 /a /odd\999\777\+01\ rw", Some(br"/odd\999\777\+01\")),
            ("1 2 0:3 /a /caf\u{e9} rw", Some("/caf\u{e9}".as_bytes())),
            ("1 2 0:3 /a", None),
            ("", None),
        ] {
            let found: Vec<_> = points(line.as_bytes()).collect();
            let found: Vec<_> = found.iter().map(|point| point.as_os_str().as_bytes()).collect();
            assert_eq!(found, Vec::from_iter(expected), "{line}");
        }
    }

    #[test]
    fn every_line_is_looked_at() {
        let points: Vec<_> = points(b"1 2 0:3 / / rw\n\n4 5 0:6 / /proc rw\n").collect();
        assert_eq!(points, [Path::new("/"), Path::new("/proc")]);
    }
}
