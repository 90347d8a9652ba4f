// Goal states of real theorems, as Lean prints them with `pp.notation false`.

export const EXAMPLES = [
  {
    title: "n + 0 = n",
    goal: "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n",
  },
  {
    title: "a prime divides a product",
    goal: "p m n : Nat\nhp : Nat.Prime p\nh : Dvd.dvd p (HMul.hMul m n)\n⊢ Or (Dvd.dvd p m) (Dvd.dvd p n)",
  },
  {
    title: "card of a subset",
    goal: "α : Type u_1\ns t : Finset α\nh : HasSubset.Subset s t\n⊢ LE.le s.card t.card",
  },
  {
    title: "image of a union",
    goal:
      "α : Type u_1\nβ : Type u_2\nf : α → β\ns t : Set α\n" +
      "⊢ Eq (Set.image f (Union.union s t)) (Union.union (Set.image f s) (Set.image f t))",
  },
  {
    title: "powers of an inverse",
    goal:
      "G₀ : Type u_2\ninst✝ : GroupWithZero G₀\na : G₀\nm n : Nat\n" +
      "⊢ Eq (HMul.hMul (HPow.hPow (Inv.inv a) m) (HPow.hPow a n)) (HMul.hMul (HPow.hPow a n) (HPow.hPow (Inv.inv a) m))",
  },
];
