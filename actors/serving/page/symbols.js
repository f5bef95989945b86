// The symbols of LaTeX that the page knows.

const greek = "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν xi ξ " +
  "pi π rho ρ sigma σ tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ Psi Ψ Omega Ω " +
  "infty ∞ ell ℓ hbar ℏ partial ∂ nabla ∇ emptyset ∅ varnothing ∅ angle ∠ triangle △ degree ° prime ′ Re ℜ Im ℑ aleph ℵ";
const operators = "cdot ⋅ times × div ÷ pm ± mp ∓ ast ∗ star ⋆ circ ∘ bullet ∙ le ≤ leq ≤ leqslant ≤ ge ≥ geq ≥ geqslant ≥ lt < gt > ne ≠ neq ≠ " +
  "approx ≈ equiv ≡ sim ∼ simeq ≃ cong ≅ propto ∝ ll ≪ gg ≫ in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ cup ∪ cap ∩ setminus ∖ " +
  "land ∧ wedge ∧ lor ∨ vee ∨ neg ¬ lnot ¬ forall ∀ exists ∃ to → rightarrow → leftarrow ← Rightarrow ⇒ Leftarrow ⇐ implies ⟹ iff ⟺ " +
  "Leftrightarrow ⇔ leftrightarrow ↔ mapsto ↦ longrightarrow ⟶ uparrow ↑ downarrow ↓ mid ∣ nmid ∤ parallel ∥ perp ⊥ therefore ∴ because ∵ " +
  "sum ∑ prod ∏ int ∫ iint ∬ oint ∮ bigcup ⋃ bigcap ⋂ ldots … dots … cdots ⋯ vdots ⋮ ddots ⋱ colon : oplus ⊕ otimes ⊗ " +
  "lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ langle ⟨ rangle ⟩ lvert | rvert | vert | Vert ‖ lbrace { rbrace } lbrack [ rbrack ]";

function pairs(text) {
  const words = text.split(" ");
  const table = Object.create(null);
  for (let i = 0; i < words.length; i += 2) table[words[i]] = words[i + 1];
  return table;
}

export const SYMBOLS = pairs(greek);
export const OPERATORS = Object.assign(pairs(operators), { "{": "{", "}": "}", "|": "‖", "%": "%", $: "$", "#": "#", "&": "&", _: "_" });
export const FUNCTIONS = new Set(
  "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim max min sup inf gcd lcm det dim ker deg arg Pr mod".split(" "),
);
export const SPACES = Object.assign(Object.create(null), {
  ",": "0.17em", ":": "0.22em", ">": "0.22em", ";": "0.28em", " ": "0.33em", quad: "1em", qquad: "2em", "!": "",
});

const BLACKBOARD = { R: "ℝ", N: "ℕ", Z: "ℤ", Q: "ℚ", C: "ℂ", P: "ℙ", H: "ℍ", E: "𝔼" };
export const blackboard = (text) => BLACKBOARD[text] ?? text;
