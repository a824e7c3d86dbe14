//! A kernel image, `vmlinuz` or `vmlinux`: its banner and the kallsyms tables that the running kernel uses.
//!
//! Owns the decoding of the boot protocol (Documentation/x86/boot.rst), of the payload's compression and of the tables
//! that scripts/kallsyms.c writes. It knows nothing of where images come from.

use std::io::Read as _;
use std::path::Path;

use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};

use crate::finding::{KERNEL_INVALID, Result, io, refuse};
use crate::kernel::symbols::Symbol;
use crate::process::Program;

/// What `Linux version ...` in an image says (init/version.c, linux_banner).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Banner {
    /// `6.1.0-47-cloud-amd64`.
    pub release: String,
    /// `init_utsname()->version`: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)`.
    pub version: String,
    /// Compiler and linker: `gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40`.
    pub compiler: String,
}

/// A decoded image.
#[derive(Debug)]
pub struct Image {
    pub banner: Banner,
    /// The symbols of vmlinux in the order of the kernel's own table, which is that of /proc/kallsyms and of sympos.
    pub symbols: Vec<Symbol>,
}

/// Reads a `vmlinuz` (bzImage) or an ELF `vmlinux`.
pub fn read(path: &Path) -> Result<Image> {
    let file = std::fs::read(path).map_err(io("read", path))?;
    decode(file).or_else(|why| refuse(KERNEL_INVALID, format!("cannot use the kernel image {}: {why}", path.display())))
}

/// Why an image can't be decoded; the caller knows which one it is.
pub type Decoded<T> = std::result::Result<T, String>;

/// The ELF file in a `vmlinuz` (bzImage), or a `vmlinux` as it is.
pub fn vmlinux(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::read(path).map_err(io("read", path))?;
    unpack(file).or_else(|why| refuse(KERNEL_INVALID, format!("cannot use the kernel image {}: {why}", path.display())))
}

/// The vmlinux in the bytes of an image.
pub fn unpack(file: Vec<u8>) -> Decoded<Vec<u8>> {
    if file.starts_with(object::elf::ELFMAG.as_slice()) { Ok(file) } else { decompress(payload(&file)?) }
}

/// Decodes the bytes of a `vmlinuz` or `vmlinux`; the error says what about them can't be used.
pub fn decode(file: Vec<u8>) -> Decoded<Image> {
    let vmlinux = unpack(file)?;
    let tables = read_only_data(&vmlinux)?;
    let banner = banner(tables).or_else(|| banner(&vmlinux)).ok_or("it holds no `Linux version` banner")?;
    let symbols = kallsyms(tables).ok_or(
        "its kallsyms tables were not found; the kernel must be built with CONFIG_KALLSYMS=y, and be 4.20 or newer",
    )?;
    Ok(Image { banner, symbols })
}

/// The part of vmlinux that holds banner and tables: `.rodata`, or everything where there are no section headers.
fn read_only_data(vmlinux: &[u8]) -> Decoded<&[u8]> {
    let elf = ElfFile64::<object::Endianness>::parse(vmlinux).map_err(|e| format!("it is no 64-bit ELF file: {e}"))?;
    let endian = elf.endian();
    if elf.elf_header().e_machine.get(endian) != object::elf::EM_X86_64 {
        return Err("it is not for x86-64".into());
    }
    let sections = elf.elf_header().sections(endian, vmlinux).map_err(|e| format!("broken section headers: {e}"))?;
    let section = sections.section_by_name(endian, b".rodata");
    Ok(section.and_then(|(_, s)| s.data(endian, vmlinux).ok()).unwrap_or(vmlinux))
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(data.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(data.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The compressed payload of a bzImage, by the boot header's fields `setup_sects` (0x1f1), `header` (0x202), `version`
/// (0x206), `payload_offset` (0x248) and `payload_length` (0x24c). Scanning for a compressor's magic instead gives
/// false hits.
pub fn payload(file: &[u8]) -> Decoded<&[u8]> {
    if file.get(0x202..0x206) != Some(b"HdrS") {
        return Err("it is neither an ELF file nor a bzImage".into());
    }
    if u16_at(file, 0x206).unwrap_or(0) < 0x208 {
        return Err("its boot protocol is older than 2.08".into());
    }
    let sectors = match file[0x1f1] {
        0 => 4,
        n => usize::from(n),
    };
    let field = |at| u32_at(file, at).map(|value| value as usize);
    let slice = || {
        let start = (sectors + 1) * 512 + field(0x248)?;
        file.get(start..start.checked_add(field(0x24c)?)?)
    };
    slice().ok_or_else(|| "it is truncated: the payload lies beyond its end".into())
}

/// The last 4 bytes are the decompressed size and no part of the stream, but for gzip, whose own they are
/// (scripts/Makefile.lib, size_append).
fn decompress(payload: &[u8]) -> Decoded<Vec<u8>> {
    let stream = &payload[..payload.len().saturating_sub(4)];
    match payload {
        [0x02, 0x21, 0x4c, 0x18, ..] => legacy_lz4(stream.get(4..).unwrap_or_default()),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut vmlinux = Vec::new();
            let decoder =
                ruzstd::decoding::StreamingDecoder::new(stream).map_err(|e| format!("broken zstd payload: {e}"))?;
            let mut decoder = decoder.take(LARGEST + 1);
            decoder.read_to_end(&mut vmlinux).map_err(|e| format!("broken zstd payload: {e}"))?;
            bounded(vmlinux)
        }
        [0x1f, 0x8b, ..] => filter(Program::new("gzip").arg("-dc"), payload),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => filter(Program::new("xz").arg("-dc"), stream),
        [0x5d, 0, 0, ..] => filter(Program::new("xz").args(["--format=lzma", "-dc"]), stream),
        [b'B', b'Z', b'h', ..] => filter(Program::new("bzip2").arg("-dc"), stream),
        [0x89, b'L', b'Z', b'O', ..] => {
            Err("it is compressed with lzo (CONFIG_KERNEL_LZO), which is not supported; build it \
             with another one (CONFIG_KERNEL_ZSTD)"
                .into())
        }
        _ => Err("its payload is of an unknown compression".into()),
    }
}

/// The largest vmlinux, in bytes: the kernel maps its own text and data within a gigabyte
/// (KERNEL_IMAGE_SIZE, arch/x86/include/asm/page_64_types.h).
const LARGEST: u64 = 1 << 30;

fn bounded(vmlinux: Vec<u8>) -> Decoded<Vec<u8>> {
    if vmlinux.len() as u64 > LARGEST { Err("its payload unpacks to more than 1 GiB".into()) } else { Ok(vmlinux) }
}

/// What a program makes of the payload.
fn filter(program: Program, payload: &[u8]) -> Decoded<Vec<u8>> {
    program.input(payload.to_vec()).run("decompress its payload").map_err(|e| e.to_string())
}

/// The legacy LZ4 frame that `lz4 -l` makes: blocks of at most 8 MiB, each with its compressed size before it
/// (lib/decompress_unlz4.c).
fn legacy_lz4(mut blocks: &[u8]) -> Decoded<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let mut vmlinux = Vec::new();
    while let Some(size) = u32_at(blocks, 0) {
        let block = blocks.get(4..4 + size as usize).ok_or("broken LZ4 payload: a block is truncated")?;
        let start = vmlinux.len();
        vmlinux.resize(start + BLOCK, 0);
        let length = lz4_flex::block::decompress_into(block, &mut vmlinux[start..])
            .map_err(|e| format!("broken LZ4 payload: {e}"))?;
        vmlinux.truncate(start + length);
        blocks = &blocks[4 + size as usize..];
        if vmlinux.len() as u64 > LARGEST {
            break;
        }
    }
    bounded(vmlinux)
}

fn banner(data: &[u8]) -> Option<Banner> {
    const START: &[u8] = b"Linux version ";
    let mut from = 0;
    while let Some(at) = find(&data[from..], START) {
        from += at + START.len();
        let text = &data[from..data.len().min(from + 512)];
        let end = text.iter().position(|b| matches!(b, b'\n' | 0)).unwrap_or(text.len());
        if let Some(banner) = std::str::from_utf8(&text[..end]).ok().and_then(parse_banner) {
            return Some(banner);
        }
    }
    None
}

fn find(data: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = data[from..].iter().position(|b| *b == first) {
        if data[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// `RELEASE (BUILDER) (COMPILER) #VERSION`; the compiler's text has parentheses of its own.
fn parse_banner(text: &str) -> Option<Banner> {
    let (release, rest) = text.split_once(" (")?;
    let (_, rest) = rest.split_once(") (")?;
    let (compiler, version) = rest.split_once(") #")?;
    // An image also holds a banner without build number, of the first link (init/Makefile, utsversion-tmp.h).
    if release.contains(['%', ' ']) || !version.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some(Banner { release: release.into(), version: format!("#{version}"), compiler: compiler.into() })
}

/// Decodes the tables that scripts/kallsyms.c writes, wherever they lie in `data`.
///
/// `kallsyms_token_index` is the anchor: 256 increasing 16-bit numbers, preceded by exactly the 256 strings that they
/// index. The other tables follow from it, in one of the orders that kernels since 4.20 have had.
pub fn kallsyms(data: &[u8]) -> Option<Vec<Symbol>> {
    let mut at = 0;
    // Starts to try, over all tables: what looks like a token table and is none is rare.
    let mut left = 2 * FURTHEST / 4;
    while at + 512 <= data.len() && left > 0 {
        if let Some(table) = token_table(data, at) {
            let starts = (0..=table / 4).rev().map(|number| 4 * number).take(left.min(FURTHEST / 4));
            let decoded = starts.inspect(|_| left -= 1).find_map(|start| names(data, start, table, at));
            if decoded.is_some() {
                return decoded;
            }
        }
        at += 4;
    }
    None
}

/// The most that lies between the number of symbols and the token table, in bytes.
const FURTHEST: usize = 64 << 20;

const fn aligned(length: usize) -> usize {
    (length + 7) & !7
}

/// The start of `kallsyms_token_table`, if `kallsyms_token_index` is at `index`.
fn token_table(data: &[u8], index: usize) -> Option<usize> {
    if u16_at(data, index)? != 0 {
        return None;
    }
    let mut previous = 0;
    for i in 1..256 {
        let offset = u16_at(data, index + 2 * i)?;
        // Each token has its 0; one that is never used is empty.
        if offset <= previous {
            return None;
        }
        previous = offset;
    }
    // Only the last token's length isn't in the index; the table is padded to 8 bytes.
    (1..64).map(|last| aligned(usize::from(previous) + last + 1)).find_map(|length| {
        let start = index.checked_sub(length)?;
        let whole = (1..256).all(|i| {
            let token = start + usize::from(u16_at(data, index + 2 * i).unwrap_or(0));
            data[token - 1] == 0
        });
        whole.then_some(start)
    })
}

/// All symbols, if `kallsyms_num_syms` is at `start`, given the token table and its index.
fn names(data: &[u8], start: usize, table: usize, index: usize) -> Option<Vec<Symbol>> {
    let count = u32_at(data, start)? as usize;
    if !(1..=4_000_000).contains(&count) || 4 * count.div_ceil(256) > table {
        return None;
    }
    let markers_size = aligned(4 * count.div_ceil(256));
    let names = start + aligned(4);
    // Since 6.2 (and in the stable 6.1s) `kallsyms_seqs_of_names`, 3 bytes a symbol, may lie before the token table.
    let markers = [0, aligned(3 * count)].into_iter().find_map(|gap| {
        let markers = table.checked_sub(gap + markers_size)?;
        let plausible = markers >= names + 2 * count
            && u32_at(data, markers)? == 0
            && (count <= 256 || (512..70_000).contains(&u32_at(data, markers + 4)?));
        plausible.then_some(markers)
    })?;
    let mut at = names;
    let mut texts = Vec::new();
    for i in 0..count {
        if i % 256 == 0 && u32_at(data, markers + 4 * (i / 256))? as usize != at - names {
            return None;
        }
        let (length, skip) = entry_length(data, at)?;
        texts.push(data.get(at + skip..at + skip + length)?);
        at += skip + length;
    }
    if names + aligned(at - names) != markers {
        return None;
    }
    let addresses = addresses(data, start, index, count)?;
    texts.into_iter().zip(addresses).map(|(text, address)| symbol(data, table, index, text, address)).collect()
}

/// The number of tokens of the name at `at`, and how many bytes that number takes: two where its top bit is set
/// (since 6.1; such a name is longer than 127 tokens).
fn entry_length(data: &[u8], at: usize) -> Option<(usize, usize)> {
    let low = usize::from(*data.get(at)?);
    if low & 0x80 == 0 {
        return Some((low, 1));
    }
    Some((low & 0x7f | usize::from(*data.get(at + 1)?) << 7, 2))
}

/// `kallsyms_offsets` and `kallsyms_relative_base`: before `kallsyms_num_syms` until 6.3, after the token index since.
fn addresses(data: &[u8], start: usize, index: usize, count: usize) -> Option<Vec<u64>> {
    let size = aligned(4 * count);
    let after = index + 512;
    let places = [(start.checked_sub(8 + size), start.checked_sub(8)), (Some(after), Some(after + size))];
    places.into_iter().find_map(|place| {
        let (offsets, base) = (place.0?, u64_at(data, place.1?)?);
        // The kernel's own half of the address space; the text is linked in its last 2 GiB.
        if base < 0xffff_ffff_8000_0000 {
            return None;
        }
        let offsets: Vec<u32> = (0..count).map(|i| u32_at(data, offsets + 4 * i)).collect::<Option<_>>()?;
        Some(absolute(&offsets, base))
    })
}

/// With CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86-64 until 6.14) an offset that isn't negative is the value of a per-CPU
/// symbol, and others count down from the base; without it all count up (kallsyms_sym_address(), kernel/kallsyms.c).
fn absolute(offsets: &[u32], base: u64) -> Vec<u64> {
    let signed = |offset: u32| i64::from(offset as i32);
    if offsets.iter().any(|o| signed(*o) < 0) {
        let address =
            |o: u32| if signed(o) >= 0 { u64::from(o) } else { base.wrapping_sub(1).wrapping_add_signed(-signed(o)) };
        return offsets.iter().map(|o| address(*o)).collect();
    }
    offsets.iter().map(|o| base.wrapping_add(u64::from(*o))).collect()
}

/// Expands one name; its first character is the symbol's kind.
fn symbol(data: &[u8], table: usize, index: usize, text: &[u8], address: u64) -> Option<Symbol> {
    let mut name = Vec::new();
    for token in text {
        let start = table + usize::from(u16_at(data, index + 2 * usize::from(*token))?);
        let length = data.get(start..)?.iter().position(|b| *b == 0)?;
        name.extend_from_slice(&data[start..start + length]);
    }
    let name = String::from_utf8(name).ok()?;
    let mut characters = name.chars();
    // nm's `?` is a symbol of a section that it has no letter for (an empty .data_nosave).
    let kind = characters.next().filter(|kind| kind.is_ascii_alphabetic() || *kind == '?')?;
    Some(Symbol { name: characters.as_str().into(), address, kind, section: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables as scripts/kallsyms.c lays them out, with a token table of single characters and one longer token.
    fn tables(symbols: &[(&str, u32)], offsets_last: bool, sequence: bool) -> Vec<u8> {
        let pad = |data: &mut Vec<u8>| data.resize(aligned(data.len()), 0);
        let base = 0xffff_ffff_8100_0000_u64.to_le_bytes();
        let mut offsets: Vec<u8> = symbols.iter().flat_map(|(_, o)| o.to_le_bytes()).collect();
        pad(&mut offsets);
        offsets.extend(base);
        let mut data = vec![0xaa; 64];
        if !offsets_last {
            data.extend(&offsets);
        }
        data.extend((symbols.len() as u32).to_le_bytes());
        pad(&mut data);
        let names = data.len();
        let mut markers = Vec::new();
        for (i, (name, _)) in symbols.iter().enumerate() {
            if i % 256 == 0 {
                markers.extend(((data.len() - names) as u32).to_le_bytes());
            }
            let compressed = name.replace("sock_", "\u{1}");
            if compressed.len() < 128 {
                data.push(compressed.len() as u8);
            } else {
                data.extend([compressed.len() as u8 | 0x80, (compressed.len() >> 7) as u8]);
            }
            data.extend(compressed.as_bytes());
        }
        pad(&mut data);
        data.extend(markers);
        pad(&mut data);
        if sequence {
            data.resize(data.len() + 3 * symbols.len(), 1);
            pad(&mut data);
        }
        let (mut table, mut index) = (Vec::new(), Vec::new());
        for i in 0..=255_u8 {
            index.extend((table.len() as u16).to_le_bytes());
            table.extend(if i == 1 {
                b"sock_".as_slice()
            } else {
                std::slice::from_ref(if i == 0 { &b'?' } else { &i })
            });
            table.push(0);
        }
        data.extend(table);
        pad(&mut data);
        data.extend(index);
        if offsets_last {
            data.extend(offsets);
        }
        data
    }

    #[test]
    fn decodes_every_order_of_the_tables() {
        let long = format!("t{}", "x".repeat(200));
        let symbols: Vec<(String, u32)> = (0..300)
            .map(|i| (if i == 7 { long.clone() } else { format!("Tsock_{i}") }, (-1 - 16 * i) as u32))
            .chain([("Dpcpu".into(), 0x40), ("?__nosave_begin".into(), 0x80)])
            .collect();
        let borrowed: Vec<(&str, u32)> = symbols.iter().map(|(n, o)| (n.as_str(), *o)).collect();
        for (offsets_last, sequence) in [(false, false), (false, true), (true, false)] {
            let decoded = kallsyms(&tables(&borrowed, offsets_last, sequence)).unwrap();
            assert_eq!((decoded.len(), decoded[301].kind), (302, '?'));
            assert_eq!((decoded[1].name.as_str(), decoded[1].kind), ("sock_1", 'T'));
            assert_eq!(decoded[1].address, 0xffff_ffff_8100_0010);
            assert_eq!(decoded[7].name.len(), 200);
            assert_eq!(decoded[300].address, 0x40);
        }
        assert!(kallsyms(&[0; 4096]).is_none());
    }

    #[test]
    fn reads_the_banner_and_not_its_format() {
        let data = b"%s version %s (a@b) (gcc) %s\n\0Linux version %s (x) (y) #z\0\
            Linux version 6.1.0-47-cloud-amd64 (d@l.org) (gcc) # SMP Debian 6.1.170-3 (2026-05-08)\n\0\
            Linux version 6.1.0-47-cloud-amd64 (d@l.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld 2.40) #1 SMP Debian 6.1.170-3 (2026-05-08)\n\0";
        let banner = banner(data).unwrap();
        assert_eq!(banner.release, "6.1.0-47-cloud-amd64");
        assert_eq!(banner.version, "#1 SMP Debian 6.1.170-3 (2026-05-08)");
        assert_eq!(banner.compiler, "gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld 2.40");
    }

    #[test]
    fn decompresses_what_the_kernel_s_build_compresses() {
        let text = b"a kernel ".repeat(100);
        let size = (text.len() as u32).to_le_bytes();
        // As scripts/Makefile.lib calls them; only gzip gets no size appended.
        let commands: [(&[&str], &[u8]); 4] = [
            (&["gzip", "-n", "-f", "-9"], &[]),
            (&["bzip2", "-9"], &size),
            (&["xz", "--check=crc32", "--x86", "--lzma2=dict=32MiB"], &size),
            (&["xz", "--format=lzma", "-9"], &size),
        ];
        for (command, end) in commands {
            let packed = Program::new(command[0]).args(&command[1..]).input(text.clone()).run("compress").unwrap();
            let mut payload = [&packed, end].concat();
            assert_eq!(decompress(&payload).unwrap(), text, "{command:?}");
            payload.truncate(payload.len() / 2);
            assert!(decompress(&payload).is_err(), "{command:?}");
        }
    }

    #[test]
    fn names_what_it_does_not_decode() {
        let why = |payload: &[u8]| decompress(payload).unwrap_err();
        assert!(why(&[0x89, b'L', b'Z', b'O', 0]).contains("CONFIG_KERNEL_LZO"));
        assert!(why(b"none").contains("unknown compression"));
        assert!(payload(b"MZ").unwrap_err().contains("bzImage"));
    }

    #[test]
    fn cuts_the_payload_at_the_boot_header_and_unpacks_its_blocks() {
        let mut file = vec![0; 3 * 512 + 16];
        file[0x1f1] = 2;
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        file[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        let mut payload_bytes = vec![0x02, 0x21, 0x4c, 0x18];
        for part in [b"first ".as_slice(), b"second"] {
            let block = lz4_flex::block::compress(part);
            payload_bytes.extend((block.len() as u32).to_le_bytes());
            payload_bytes.extend(block);
        }
        payload_bytes.extend(12_u32.to_le_bytes());
        file[0x24c..0x250].copy_from_slice(&(payload_bytes.len() as u32).to_le_bytes());
        file.extend(payload_bytes);
        assert_eq!(decompress(payload(&file).unwrap()).unwrap(), b"first second");
        file.truncate(file.len() - 1);
        assert!(payload(&file).unwrap_err().contains("truncated"));
    }
}
