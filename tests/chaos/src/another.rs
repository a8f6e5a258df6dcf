//! Another build of a program, without a compiler: what an upgrade brings, and otherwise the same.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// `.note.gnu.build-id`: the lengths of name and identifier, the kind, the name; the identifier follows.
const BUILD_ID: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
/// A 64-bit little-endian ELF file, relocatable and for BPF (`EM_BPF`, 247); between the two parts are bytes that vary.
const OBJECT: &[u8] = b"\x7fELF\x02\x01\x01";
const RELOCATABLE_BPF: &[u8] = b"\x01\0\xf7\0";
/// `SHF_EXECINSTR`
const CODE: u64 = 4;

/// Copies a build of `orlop` with another build identifier and, with `programs`, with eBPF programs that do the same by other
/// instructions: to the kernel they are others. The file is made anew.
pub fn another_build(of: &Path, to: &Path, programs: bool) -> Result<()> {
    let mut bytes = fs::read(of).with_context(|| format!("reading {}", of.display()))?;
    let id = find(&bytes, BUILD_ID).next().context("it has a build identifier")? + BUILD_ID.len();
    bytes[id] ^= 0xff;
    if programs {
        let start = find(&bytes, OBJECT).find(|at| bytes[*at..].get(16..20) == Some(RELOCATABLE_BPF));
        let start = start.with_context(|| format!("no eBPF object is in {}", of.display()))?;
        let changed: usize = sections(&bytes[start..])?.into_iter().map(|code| reword(&mut bytes[start..][code])).sum();
        ensure!(changed > 0, "the eBPF programs in {} say nothing that could be said otherwise", of.display());
    }
    match fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))?;
    fs::set_permissions(to, fs::metadata(of)?.permissions())?;
    Ok(())
}

/// Where an object has its programs.
fn sections(object: &[u8]) -> Result<Vec<Range<usize>>> {
    let number = |at: usize, length: usize| -> Result<u64> {
        let bytes = object.get(at..at + length).context("the eBPF object ends early")?;
        Ok(bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    };
    let (table, entry, count) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?);
    let mut all = Vec::new();
    for section in 0..count {
        let at = usize::try_from(table + section * entry)?;
        if number(at + 0x08, 8)? & CODE != 0 {
            let (start, length) = (usize::try_from(number(at + 0x18, 8)?)?, usize::try_from(number(at + 0x20, 8)?)?);
            ensure!(object.len() >= start + length, "the eBPF object ends early");
            all.push(start..start + length);
        }
    }
    Ok(all)
}

/// Says each `register = number` of a program 32 bits wide instead of 64, which clears the rest: for a number that is not
/// negative it is the same. Gives how many there were.
fn reword(code: &mut [u8]) -> usize {
    const WIDE: u8 = 0xb7;
    const NARROW: u8 = 0xb4;
    const TWO_LONG: u8 = 0x18;
    let (mut changed, mut at) = (0, 0);
    while let Some(instruction) = code.get_mut(at..at + 8) {
        at += if instruction[0] == TWO_LONG { 16 } else { 8 };
        if instruction[0] == WIDE && instruction[7] & 0x80 == 0 {
            instruction[0] = NARROW;
            changed += 1;
        }
    }
    changed
}

fn find<'a>(bytes: &'a [u8], what: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = what.first().copied().unwrap_or_default();
    let starts = bytes.iter().enumerate().filter(move |(_, byte)| **byte == first).map(|(at, _)| at);
    starts.filter(move |at| bytes[*at..].starts_with(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_said_in_another_way_and_nothing_else_is() {
        // r1 = 5; r0 = a 64-bit number whose second half looks like `r7 = 0`; r2 = -1; exit
        let mut code = *b"\xb7\x01\0\0\x05\0\0\0\x18\0\0\0\x01\0\0\0\xb7\x07\0\0\0\0\0\0\xb7\x02\0\0\xff\xff\xff\xff\x95\0\0\0\0\0\0\0";
        assert_eq!(reword(&mut code), 1);
        assert_eq!((code[0], code[16], code[24]), (0xb4, 0xb7, 0xb7));
    }
}
