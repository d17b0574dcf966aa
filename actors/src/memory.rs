//! What memory takes, as the allocator counts it.

/// What the allocator takes for so many bytes: jemalloc's size classes, four to each doubling, 16 bytes apart below 128.
pub(crate) fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_jemalloc() {
        for (bytes, class) in
            [(1, 8), (17, 32), (128, 128), (129, 160), (257, 320), (513, 640), (2560, 2560), (2561, 3072), (5000, 5120)]
        {
            assert_eq!(allocated(bytes), class, "{bytes}");
        }
    }
}
