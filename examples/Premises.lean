/-
Premises for Lean from a server of your own.

1. Add LeanHammer (which brings premise-selection along) to your `lakefile.toml`, before Mathlib and in the release that
   belongs to your Lean version, and run `lake update`:

     [[require]]
     name = "Hammer"
     git = "https://github.com/JOSHCLUNE/LeanHammer"
     rev = "v4.29.0"

2. Tell it the address of the server, as below. There is no slash at its end: the routes are put right behind it. To do
   so for a whole project, write it into `lakefile.toml` instead:

     [leanOptions]
     weak.premiseSelection.apiBaseUrl = "http://127.0.0.1:8000"

   `weak.` keeps files that do not import it from failing. A server with keys takes one inside the address, with any
   user name: "http://user:KEY@host:8000". Whoever reads the file reads the key: keep it out of a shared repository.

3. Lean calls `curl`, which has to be installed. What it asks for: `GET /max-new-premises`, `GET /indexed-premises` or
   `GET /indexed-modules` once for each file, and `POST /retrieve` for each goal. The first call of a file takes longest:
   Lean prints the premises that the server does not know.
-/
import Hammer

set_option premiseSelection.apiBaseUrl "http://127.0.0.1:8000"

/-- A premise that no corpus has: it is sent along, and ranked with the others. -/
theorem my_add_zero (n : Nat) : n + 0 = n := rfl

-- See what comes back; `premises 50` asks for more. With premise-selection alone, `import PremiseSelection` will do.
example (a b : Nat) : a + b = b + a := by
  premises
  exact Nat.add_comm a b

-- The names that `hammer` got, and the proof that it made of them.
set_option trace.hammer.premises true in
example (n : Nat) : n + 0 = n := by
  hammer

-- When a goal seems to get no premises: the goal as it was sent, and the answer.
set_option trace.premiseSelection.debug true in
example (a b : Nat) : a + b = b + a := by
  premises
  exact Nat.add_comm a b

-- Corpus or server changed while the file was open: forget what was asked for, and ask again.
clear_premise_selection_cloud_cache
