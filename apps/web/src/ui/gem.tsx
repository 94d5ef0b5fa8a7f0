/** The mark: a cut gem with two small horns. */
export function Gem({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <path fill="#5b2bc4" d="M5 3l5.500 7L5 13.500zM27 3l-5.500 7 5.500 3.500z" />
      <path fill="#a583f5" d="M10 9h12l5 6.500H5z" />
      <path fill="#c9b5fb" d="M16 9l5 6.500H11z" />
      <path fill="#7443e0" d="M5 15.500h6L16 29z" />
      <path fill="#8e62ee" d="M11 15.500h10L16 29z" />
      <path fill="#5b2bc4" d="M27 15.500h-6L16 29z" />
    </svg>
  );
}
