//! CRC-64/NVME: over headers, tables, data, superblocks and messages alike.

use crc_fast::CrcAlgorithm::Crc64Nvme;

/// Checksum of the bytes.
pub fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Nvme, bytes)
}

/// Checksum of bytes that come in pieces.
#[derive(Clone, Debug)]
pub struct Digest(crc_fast::Digest);

impl Digest {
    /// Over nothing yet.
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(Crc64Nvme))
    }

    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all pieces so far.
    pub fn finish(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit: polynomial 0xad93d23594c93659, reflected, all ones in and out.
    fn slow(bytes: &[u8]) -> u64 {
        let polynomial = 0xad93_d235_94c9_3659_u64.reverse_bits();
        let step = |crc: u64| if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 };
        !bytes.iter().fold(u64::MAX, |crc, byte| (0..8).fold(crc ^ u64::from(*byte), |crc, _| step(crc)))
    }

    #[test]
    fn it_is_the_crc_of_the_nvme_specification() {
        assert_eq!(checksum(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(checksum(&[0; 4096]), 0x6482_d367_eb22_b64e);
        assert_eq!(checksum(&[0xff; 4096]), 0xc0dd_ba73_02ec_a3ac);
    }

    #[test]
    fn it_agrees_with_the_slow_way_at_every_length() {
        let bytes: std::vec::Vec<u8> = (0..1100_u32).map(|i| (i * 31 % 251) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(checksum(&bytes[..length]), slow(&bytes[..length]), "length {length}");
        }
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let bytes = [7; 1000];
        for cut in [0, 1, 255, 256, 999, 1000] {
            let mut digest = Digest::new();
            digest.update(&bytes[..cut]);
            digest.update(&bytes[cut..]);
            assert_eq!(digest.finish(), checksum(&bytes));
        }
    }
}
