import {postLists} from './figures/postLists.ts'
import type {Figure} from './harness.ts'

/** Every figure, in the order in which they are measured and shown. */
export const figures: readonly Figure[] = [postLists]
