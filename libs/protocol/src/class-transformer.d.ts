/** The part of the package that its own index leaves out. */
declare module 'class-transformer/cjs/storage.js' {
  import type { TypeMetadata } from 'class-transformer';
  export const defaultMetadataStorage: {
    findTypeMetadata(target: new () => object, property: string): TypeMetadata | undefined;
  };
}
