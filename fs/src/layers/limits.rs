//! How much a layer may be, so that a small hostile one does not become an endless one.

/// Bounds for reading layers. The defaults are far above what real images have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most entries of one layer.
    pub entries: u64,
    /// Most bytes that a layer, or its files with their holes filled, may come to.
    pub unpacked: u64,
    /// Most unpacked bytes per packed byte, once [`Limits::ratio_from`] bytes have been unpacked.
    pub ratio: u64,
    /// Below so many unpacked bytes the ratio is not looked at.
    pub ratio_from: u64,
    /// Most bytes of one header of extended attributes or of a long name.
    pub header: u64,
    /// Most bytes of all such headers of one layer, of which much is kept in memory.
    pub headers: u64,
    /// Unpacked bytes kept ahead of the reader, per layer.
    pub look_ahead: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 20_000_000,
            unpacked: 4 << 40,
            ratio: 20_000,
            ratio_from: 16 << 30,
            header: 1 << 20,
            headers: 1 << 30,
            look_ahead: 16 << 20,
        }
    }
}
