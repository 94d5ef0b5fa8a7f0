/**
 * Puts text on the clipboard; true when it is there. Browsers give pages over plain http no clipboard, so there the
 * text is copied from a selection, as by hand.
 */
export async function copyText(text: string, from: HTMLElement): Promise<boolean> {
  const { clipboard } = navigator as { clipboard?: Clipboard };
  if (clipboard)
    return clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  const selection = document.getSelection();
  selection?.selectAllChildren(from);
  const done = document.execCommand('copy');
  if (done) selection?.removeAllRanges();
  return done;
}
