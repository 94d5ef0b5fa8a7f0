/** Where a scrolled element stands, in pixels. */
export interface ScrollPlace {
  top: number;
  /** Height of what is seen. */
  view: number;
  /** Height of everything. */
  height: number;
}

const NEAR_PX = 24;

/**
 * Whether the log goes on following its end after the scroll position changed: reaching the end starts it, moving
 * up ends it, and content that grows below (which moves nothing) changes nothing.
 */
export function nextFollow(follow: boolean, place: ScrollPlace, previousTop: number): boolean {
  if (place.height - place.top - place.view <= NEAR_PX) return true;
  return place.top < previousTop ? false : follow;
}

/** `#L12` → 12. */
export function lineOfHash(hash: string): number | undefined {
  const match = /^#?L([1-9]\d{0,9})$/.exec(hash);
  return match ? Number(match[1]) : undefined;
}
