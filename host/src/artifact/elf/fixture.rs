//! Small ELF files for tests: whole, accepted by [`super::verify`], and easy to spoil.
//!
//! Owns a writer of just the tables that the reader looks at; virtual addresses are file offsets.

/// What goes into the file.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) manifest: String,
    /// Name, defined, `st_info`.
    pub(crate) symbols: Vec<(&'static [u8], bool, u8)>,
    /// Tag and value; `DT_NEEDED` and `DT_NULL` are added.
    pub(crate) dynamic: Vec<(u64, u64)>,
    pub(crate) interpreter: bool,
    /// Without a section table.
    pub(crate) bare: bool,
    /// With GNU's table of hashes.
    pub(crate) hash: bool,
}

/// The text that the export macro would write for `crate_name`, version 0.1.0.
pub(crate) fn manifest(crate_name: &str) -> String {
    format!(
        "hotseat-manifest 1\nabi=1.0\nrequires=0x0000000000000001\ncrate={crate_name}\n\
         package=fixture\nversion=0.1.0\nname=\nlabel=\nrustc=rustc 1.95.0\napi=0.1.0\n\
         panic=unwind\n\0"
    )
}

/// A plugin-like library; different crate names give different contents.
pub(crate) fn library(crate_name: &str) -> Vec<u8> {
    Fixture::new(crate_name).build()
}

const GLOBAL_OBJECT: u8 = 0x11;
const GLOBAL_FUNCTION: u8 = 0x12;

impl Fixture {
    pub(crate) fn new(crate_name: &str) -> Self {
        Self {
            manifest: manifest(crate_name),
            symbols: vec![
                (super::ROOT_SYMBOL, true, GLOBAL_OBJECT),
                (super::manifest::SYMBOL, true, GLOBAL_OBJECT),
                (super::UNWIND_SYMBOL, false, GLOBAL_FUNCTION),
            ],
            dynamic: Vec::new(),
            interpreter: false,
            bare: false,
            hash: false,
        }
    }

    pub(crate) fn without(mut self, symbol: &[u8]) -> Self {
        self.symbols.retain(|(name, _, _)| *name != symbol);
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let segment_count: u16 = if self.interpreter { 3 } else { 2 };
        let mut out = Out(vec![0; 64 + usize::from(segment_count) * 56]);
        let text = out.append(self.manifest.as_bytes());
        let mut names = b"\0libc.so.6\0".to_vec();
        let mut symbols = vec![0; 24];
        for (name, defined, info) in &self.symbols {
            symbols.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
            symbols.extend([*info, 0, u8::from(*defined), 0]);
            symbols.extend((text as u64).to_le_bytes());
            symbols.extend(8_u64.to_le_bytes());
            names.extend(*name);
        }
        let strings = out.append(&names);
        let strings = (strings, names.len());
        let symbols = (out.append(&symbols), symbols.len());
        let mut entries = self.dynamic.clone();
        entries.extend([(1, 1), (6, symbols.0 as u64)]);
        if self.hash {
            entries.push((0x6fff_fef5, out.append(&hashes(self.symbols.len())) as u64));
        }
        entries.push((0, 0));
        let entries: Vec<u8> =
            entries.iter().flat_map(|(t, v)| [t.to_le_bytes(), v.to_le_bytes()].concat()).collect();
        let dynamic = (out.append(&entries), entries.len());
        let end = out.0.len();
        let sections = out.append(&[]);
        for (kind, at, link) in
            [(0, (0, 0), 0_u32), (11, symbols, 2), (3, strings, 0), (6, dynamic, 2)]
        {
            if !self.bare {
                out.section(kind, at, link);
            }
        }
        out.segment(0, 1, (0, end));
        out.segment(1, 2, dynamic);
        if self.interpreter {
            out.segment(2, 3, strings);
        }
        out.header(segment_count, if self.bare { (0, 0) } else { (sections, 4) });
        out.0
    }
}

/// A table with all symbols but the null one in one chain.
fn hashes(count: usize) -> Vec<u8> {
    let chain = (1..=count).map(|number| u32::from(number == count));
    // One bucket, the first symbol, one word of the filter, its shift; the filter; the bucket.
    let head = [1, 1, 1, 0, u32::MAX, u32::MAX, u32::from(count > 0)];
    head.into_iter().chain(chain).flat_map(u32::to_le_bytes).collect()
}

struct Out(Vec<u8>);

impl Out {
    fn append(&mut self, bytes: &[u8]) -> usize {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = self.0.len();
        self.0.extend(bytes);
        at
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn section(&mut self, kind: u32, (at, len): (usize, usize), link: u32) {
        let mut entry = [0; 64];
        entry[4..8].copy_from_slice(&kind.to_le_bytes());
        entry[16..24].copy_from_slice(&(at as u64).to_le_bytes());
        entry[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        entry[32..40].copy_from_slice(&(len as u64).to_le_bytes());
        entry[40..44].copy_from_slice(&link.to_le_bytes());
        self.0.extend(entry);
    }

    fn segment(&mut self, index: usize, kind: u32, (at, len): (usize, usize)) {
        let entry = 64 + index * 56;
        self.put(entry, &kind.to_le_bytes());
        for field in [8, 16, 24] {
            self.put(entry + field, &(at as u64).to_le_bytes());
        }
        for field in [32, 40] {
            self.put(entry + field, &(len as u64).to_le_bytes());
        }
    }

    fn header(&mut self, segments: u16, (sections, count): (usize, u16)) {
        let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
        self.put(0, b"\x7fELF\x02\x01\x01");
        self.put(16, &3_u16.to_le_bytes());
        self.put(18, &machine.to_le_bytes());
        self.put(20, &1_u32.to_le_bytes());
        self.put(32, &64_u64.to_le_bytes());
        self.put(40, &(sections as u64).to_le_bytes());
        for (at, value) in
            [(52, 64), (54, 56), (56, segments), (58, 64), (60, count), (62, count / 2)]
        {
            self.put(at, &u16::to_le_bytes(value));
        }
    }
}
