//! A hash that is the same on all machines and in all releases, so that nodes can compare what they hold.

/// FNV-1a with 64 bits, then the finalizer of MurmurHash3 with 64 bits: each bit of it depends on all bytes, so sums of it
/// tell sets apart, and remainders are spread evenly.
#[must_use]
pub fn digest(bytes: impl AsRef<[u8]>) -> u64 {
    of(bytes.as_ref().iter())
}

/// The same of these bytes under a seed.
#[must_use]
pub fn digest_under(seed: u64, bytes: &[u8]) -> u64 {
    of(seed.to_be_bytes().iter().chain(bytes))
}

/// The finalizer of MurmurHash3 with 64 bits: all bits of its argument reach all of its value.
#[must_use]
pub fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ (hash >> 33)
}

fn of<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    mix(bytes.fold(0xCBF2_9CE4_8422_2325, fnv))
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn the_digest_is_the_same_on_all_machines_and_in_all_versions() {
        let vectors =
            [("", 0xEFD0_1F60_BA99_2926), ("#", 0x22B1_B0F4_6D1E_96A0), ("fleet/+/state", 0x8FC7_479F_2477_5329)];
        for (text, expected) in vectors {
            assert_eq!(digest(text), expected, "{text}: {:#X}", digest(text));
        }
    }
}
