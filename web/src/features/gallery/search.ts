import type { ImageFilter } from "./images";

/** What the gallery's address may say: the filter, whether days have headings, and which picture is open. */
export interface GallerySearch extends ImageFilter {
  days?: boolean;
  image?: string;
}

/** Takes over what an address says as far as it makes sense, and leaves out what is the usual. */
export function gallerySearch(search: Record<string, unknown> | GallerySearch): GallerySearch {
  const rating = Number(search.rating);
  return {
    ...(typeof search.image === "string" && { image: search.image }),
    // The router reads numbers where people have typed some.
    ...((typeof search.q === "string" || typeof search.q === "number") &&
      search.q !== "" && { q: String(search.q) }),
    ...(search.starred === true && { starred: true }),
    ...(rating >= 1 && rating <= 5 && { rating: Math.floor(rating) }),
    ...(search.days === true && { days: true }),
    ...(search.bin === true && { bin: true }),
    ...(typeof search.board === "string" && search.board !== "" && { board: search.board }),
  };
}
