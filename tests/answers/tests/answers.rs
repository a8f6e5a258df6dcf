//! Every conversation of `cases/`, held with our API server; with `ORLOP_ANSWERS_RECORD` with a real one, to write down what it says.
#![allow(clippy::unwrap_used)]

use orlop_answers::{files, record, replay};

/// So many conversations at once.
const AT_ONCE: usize = 2;

#[test]
fn every_answer_is_the_one_that_kube_apiserver_gave() {
    let wanted = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(filter) = wanted("ORLOP_ANSWERS_RECORD") {
        for file in files(Some(filter.as_str()).filter(|filter| *filter != "all")).unwrap() {
            record(&file).unwrap();
            println!("recorded {}", file.display());
        }
        return;
    }
    let files = files(wanted("ORLOP_ANSWERS").as_deref()).unwrap();
    assert!(!files.is_empty(), "no such file");
    let complaints = std::thread::scope(|scope| {
        let (files, mut running) = (&files, Vec::new());
        for first in 0..AT_ONCE {
            running.push(scope.spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                let mine = files.iter().skip(first).step_by(AT_ONCE);
                mine.flat_map(|file| runtime.block_on(replay(file)).unwrap()).collect::<Vec<_>>()
            }));
        }
        running.into_iter().flat_map(|part| part.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(complaints.is_empty(), "{} answers differ:\n{}", complaints.len(), complaints.join("\n"));
}
