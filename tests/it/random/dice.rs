//! Numbers from a seed. The same seed throws the same, on every machine.

/// SplitMix64.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Other dice for each `name`, which leave these as they are.
    pub fn branch(&self, name: &str) -> Self {
        let letters = name.bytes().map(u64::from);
        Self(letters.fold(self.0, |sum, letter| {
            sum.wrapping_mul(31).wrapping_add(letter)
        }))
    }

    /// A number under `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(sides).unwrap()).unwrap()
    }

    /// From the first to the second, both included.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.roll(most - least + 1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.roll(100) < chance
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }

    /// As many of these, perhaps one twice.
    pub fn picks<T: Clone>(&mut self, count: usize, from: &[T]) -> Vec<T> {
        (0..count).map(|_| self.pick(from)).collect()
    }
}
