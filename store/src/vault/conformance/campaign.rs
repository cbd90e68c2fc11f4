//! Many random sequences, and the shortest one that fails.

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{World, run, steps};

/// How often a failing sequence is made shorter before it is shown.
const SHRINK_STEPS_MAX: u32 = 4000;

/// How many sequences, and which.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// All that is random follows from this.
    pub seed: u64,
    /// How many sequences.
    pub sequences: u32,
    /// Operations of each.
    pub steps: usize,
}

impl Campaign {
    /// Runs the sequences, each on a world of its own that `make` gives.
    ///
    /// # Panics
    /// With the shortest sequence found that differs from the model.
    pub fn run<W: World>(&self, make: impl Fn(u64) -> W) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        let config = Config {
            cases: self.sequences,
            max_shrink_iters: SHRINK_STEPS_MAX,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner =
            TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let outcome = runner.run(&steps(self.steps), |steps| {
            runtime.block_on(run(&make(self.seed), &steps));
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("seed {}: {failure}", self.seed);
        }
    }
}
