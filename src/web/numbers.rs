//! Which numbers of requests were used, so that none is taken twice: a window as in RFC 4303, 3.4.3.

/// Numbers below the highest of a view that are still taken once: requests overtake each other on their connections.
const WINDOW: usize = 1_024;

/// The numbers that a view has used: the highest, and which of the [`WINDOW`] below it.
#[derive(Default)]
pub(super) struct Numbers {
    highest: Option<u64>,
    used: [u64; WINDOW / 64],
}

impl Numbers {
    /// Whether the number was not used before and is not too old; it is used now.
    pub(super) fn take(&mut self, number: u64) -> bool {
        // Slot of a number: itself modulo the window, which holds exactly the last `WINDOW` numbers.
        match self.highest {
            Some(highest) if number <= highest => {
                let fresh = highest - number < WINDOW as u64 && !self.is_used(number);
                if fresh {
                    self.set(number, true);
                }
                fresh
            }
            highest => {
                match highest {
                    Some(highest) if number - highest < WINDOW as u64 => {
                        (highest + 1..number).for_each(|skipped| self.set(skipped, false));
                    }
                    _ => self.used = Default::default(),
                }
                self.set(number, true);
                self.highest = Some(number);
                true
            }
        }
    }

    fn is_used(&self, number: u64) -> bool {
        let slot = number as usize % WINDOW;
        self.used[slot / 64] >> (slot % 64) & 1 == 1
    }

    fn set(&mut self, number: u64, used: bool) {
        let slot = number as usize % WINDOW;
        let bit = 1 << (slot % 64);
        match used {
            true => self.used[slot / 64] |= bit,
            false => self.used[slot / 64] &= !bit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_overtake_each_other_within_the_window() {
        let mut numbers = Numbers::default();
        for (number, taken) in [
            (5, true),
            (5, false),
            (3, true),
            (0, true),
            (0, false),
            (1_030, true),
            (6, false),
            (7, true),
            (7, false),
            (1_029, true),
            (u64::MAX, true),
            (u64::MAX, false),
            (u64::MAX - 1_024, false),
            (u64::MAX - 1_023, true),
            (1_031, false),
        ] {
            assert_eq!(numbers.take(number), taken, "{number}");
        }
    }

    #[test]
    fn the_window_agrees_with_a_set_of_all_numbers() {
        let (mut numbers, mut all, mut highest) = (Numbers::default(), std::collections::HashSet::new(), 0u64);
        let mut random = 1u64;
        for _ in 0..50_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (highest + (random >> 33 & 0x7ff)).saturating_sub(1_200);
            let fresh = (all.is_empty() || number + 1_024 > highest) && all.insert(number);
            assert_eq!(numbers.take(number), fresh, "{number} of {highest}");
            highest = highest.max(number);
        }
    }
}
