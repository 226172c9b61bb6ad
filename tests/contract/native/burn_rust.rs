//! A Rust library that burn_rust.py calls: see workload.py.
use std::hint::black_box;

mod shapes {
    use super::black_box;

    pub struct Spinner<T> {
        pub sum: T,
    }

    pub trait Spin {
        fn burn_leaf(&mut self, n: u64);
        fn burn_direct(&mut self, n: u64);
    }

    impl Spinner<u64> {
        #[inline(always)]
        fn mix_inline(&mut self, i: u64) {
            self.sum = black_box(self.sum.wrapping_add(i));
        }
    }

    impl Spin for Spinner<u64> {
        #[inline(never)]
        fn burn_leaf(&mut self, n: u64) {
            for i in 0..n {
                self.mix_inline(i);
            }
        }

        #[inline(never)]
        fn burn_direct(&mut self, n: u64) {
            (0..n).for_each(|i| self.mix_inline(i ^ 1));
        }
    }
}

use shapes::{Spin, Spinner};

#[inline(never)]
fn call_through<F: Fn(i64)>(function: F, n: i64) {
    function(n);
    black_box(n);
}

#[no_mangle]
pub extern "C" fn rust_leaf(n: i64) {
    let mut spinner = Spinner { sum: 0 };
    spinner.burn_leaf(n as u64);
    black_box(spinner.sum);
}

#[no_mangle]
pub extern "C" fn rust_direct(n: i64) {
    let mut spinner = Spinner { sum: 0 };
    spinner.burn_direct(n as u64);
    black_box(spinner.sum);
}

#[no_mangle]
pub extern "C" fn rust_call_back(function: extern "C" fn(i64), n: i64) {
    call_through(|n| function(n), n);
    black_box(n);
}
